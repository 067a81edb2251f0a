"""A step is done when its stamp holds the hash of exactly the inputs it would run on now.

Standard library only: the bootstrap imports it before anything is installed.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from compose.toolchain import layout


def digest(files: Iterable[Path], *facts: str) -> str:
    """Hash of the files' names and contents (relative to the project) and of facts that are no files."""
    total = hashlib.sha256()
    for path in sorted(files):
        name = path.relative_to(layout.ROOT) if path.is_relative_to(layout.ROOT) else path
        total.update(str(name).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    for fact in facts:
        total.update(fact.encode() + b"\0")
    return total.hexdigest()


def is_done(step: str, inputs: str) -> bool:
    try:
        return (layout.STAMPS / step).read_text() == inputs
    except FileNotFoundError:
        return False


def mark_done(step: str, inputs: str) -> None:
    layout.STAMPS.mkdir(parents=True, exist_ok=True)
    (layout.STAMPS / step).write_text(inputs)
