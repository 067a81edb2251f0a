"""A step is done when its stamp holds the hash of exactly the inputs it would run on now.

A stamp lies beside what the step made, so that removing the result removes the stamp.
Standard library only: the bootstrap imports it before anything is installed.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from compose.toolchain import layout


def digest(files: Iterable[Path], *facts: str) -> str:
    """Hash of the files' names and contents, and of facts that are no files."""
    total = hashlib.sha256()
    for path in sorted(files):
        name = path.relative_to(layout.ROOT) if path.is_relative_to(layout.ROOT) else path
        total.update(str(name).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    for fact in facts:
        total.update(fact.encode() + b"\0")
    return total.hexdigest()


def is_done(stamp: Path, inputs: str) -> bool:
    return stamp.is_file() and stamp.read_text() == inputs


def mark_done(stamp: Path, inputs: str) -> None:
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(inputs)
