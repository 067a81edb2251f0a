"""Apache Kafka's jars: resolved by their Maven coordinates, checked against `kafka.lock`, started from a class archive.

The lock names every jar with its coordinates and SHA-256; a jar that is not in it, or differs, stops the setup.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from compose.toolchain import layout, stamps

ENDPOINT = "org.apache.kafka:kafka_2.13:4.1.0+org.slf4j:slf4j-simple:1.7.36"
LOCK = layout.TOOLCHAIN / "kafka.lock"
HOME = layout.BUILD / "kafka"
LIBS = HOME / "libs"
_STAMP = HOME / "jars.stamp"


class JarMismatchError(RuntimeError):
    """What the resolver brought is not what the lock names."""


@dataclass(frozen=True, slots=True)
class LockedJar:
    coordinates: str
    filename: str
    sha256: str


def read_lock(path: Path = LOCK) -> list[LockedJar]:
    lines = (line.split() for line in path.read_text().splitlines() if line and not line.startswith("#"))
    return [LockedJar(*fields) for fields in lines]


def differences(locked: list[LockedJar], found: dict[str, str]) -> list[str]:
    """What is wrong with the jars found (file name → SHA-256), one line each; empty when they are the lock's."""
    wanted = {jar.filename: jar for jar in locked}
    wrong = [f"missing {name} ({wanted[name].coordinates})" for name in sorted(wanted.keys() - found.keys())]
    wrong += [f"not in the lock: {name}" for name in sorted(found.keys() - wanted.keys())]
    wrong += [
        f"{name} has SHA-256 {found[name]}, the lock says {wanted[name].sha256}"
        for name in sorted(wanted.keys() & found.keys())
        if found[name] != wanted[name].sha256
    ]
    return wrong


def class_path() -> str:
    """The jars in the lock's order: an archive of classes is only used with the very same list."""
    return ":".join(str(LIBS / jar.filename) for jar in read_lock())


def is_installed() -> bool:
    return stamps.is_done(_STAMP, stamps.digest([LOCK])) and all((LIBS / jar.filename).is_file() for jar in read_lock())


def install(tell: Callable[[str], None] = lambda _text: None) -> None:
    """Resolve, verify, then put in place: a half-done download is never used."""
    jars = [jar.path for jar in _resolve(tell)]
    wrong = differences(read_lock(), {jar.name: _sha256(jar) for jar in jars})
    if wrong:
        raise JarMismatchError("Kafka's jars are not those of kafka.lock: " + "; ".join(wrong))
    shutil.rmtree(HOME, ignore_errors=True)
    LIBS.mkdir(parents=True)
    for jar in jars:
        shutil.copy2(jar, LIBS / jar.name)
    stamps.mark_done(_STAMP, stamps.digest([LOCK]))


def write_lock() -> None:
    """Make the lock anew from what resolves now (a maintainer's step: `python -m compose.toolchain lock-kafka`)."""
    lines = sorted(f"{jar.coordinates} {jar.path.name} {_sha256(jar.path)}" for jar in _resolve(lambda _text: None))
    header = f"# Kafka's jars, resolved from {ENDPOINT}\n# coordinates, file name, SHA-256\n"
    LOCK.write_text(header + "\n".join(lines) + "\n")


@dataclass(frozen=True, slots=True)
class _Resolved:
    coordinates: str
    path: Path


def _resolve(tell: Callable[[str], None]) -> list[_Resolved]:
    # Imported here: resolving is rare and the import takes longer than the check that nothing is to do.
    import jgo

    # Not jgo.build: it fetches a whole JDK of its own to tell modules from other jars, which nobody here asks.
    artifacts = jgo.resolve(ENDPOINT)
    found = []
    for at, artifact in enumerate(artifacts, 1):
        tell(f"{at}/{len(artifacts)} {artifact.filename}")
        coordinates = f"{artifact.groupId}:{artifact.artifactId}:{artifact.version}"
        found.append(_Resolved(coordinates, Path(artifact.resolve())))
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
