"""The toolchain's decisions: which Java and Go will do, when a step is done, what the locks promise."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from compose.toolchain import golang, java, kafka, layout, stamps

SHELL = shutil.which("sh")
LOCKS = [layout.REQUIREMENTS, *(layout.TOOLCHAIN / f"{name}.lock" for name in ("chdb", "go", "java"))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('openjdk version "17.0.15" 2025-04-15\nOpenJDK Runtime …', ("17.0.15", 17)),
        ('java version "1.8.0_402"', ("1.8.0_402", 8)),
        ('openjdk version "25" 2025-09-16', ("25", 25)),
        ("no java here", None),
    ],
)
def test_java_versions(text: str, expected: tuple[str, int] | None) -> None:
    assert java.parse_version(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("go version go1.26.8 linux/amd64", (1, 26)), ("go version go1.9 linux/arm64", (1, 9)), ("", None)],
)
def test_go_versions(text: str, expected: tuple[int, int] | None) -> None:
    assert golang.parse_version(text) == expected


def program(folder: Path, name: str, says: str) -> Path:
    path = folder / name
    path.write_text(f"#!{SHELL}\necho '{says}'\n")
    path.chmod(0o755)
    return path


def test_an_old_or_broken_go_is_not_taken(tmp_path: Path) -> None:
    assert golang.probe(program(tmp_path, "old", "go version go1.25.4 linux/amd64")) is None
    assert golang.probe(program(tmp_path, "new", "go version go1.27.1 linux/amd64")) is not None
    assert golang.probe(tmp_path / "none") is None


def test_an_old_java_of_the_machine_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    program(tmp_path / "bin", "java", 'openjdk version "11.0.2"')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert java.machine_java() is None
    program(tmp_path / "bin", "java", 'openjdk version "21.0.2"')
    found = java.machine_java()
    assert found is not None
    assert found.major == 21


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_locks_have_exact_versions_with_hashes_and_no_address(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    lines = text.replace("\\\n", " ").splitlines()
    requirements = [line for line in lines if line and not line.lstrip().startswith("#")]
    assert requirements
    for requirement in requirements:
        assert re.match(r"[A-Za-z0-9._-]+==\S+", requirement), requirement
        assert "--hash=sha256:" in requirement, requirement


def test_kafkas_lock_names_every_jar_once_with_its_hash() -> None:
    locked = kafka.read_lock()
    assert len({jar.filename for jar in locked}) == len(locked) > 40
    assert all(re.fullmatch(r"[0-9a-f]{64}", jar.sha256) for jar in locked)
    assert any(jar.coordinates == "org.apache.kafka:kafka_2.13:4.1.0" for jar in locked)


def test_jars_that_differ_from_the_lock_are_named() -> None:
    locked = [kafka.LockedJar("g:a:1", "a-1.jar", "aa"), kafka.LockedJar("g:b:1", "b-1.jar", "bb")]
    assert kafka.differences(locked, {"a-1.jar": "aa", "b-1.jar": "bb"}) == []
    assert kafka.differences(locked, {"a-1.jar": "ff", "c-1.jar": "cc"}) == [
        "missing b-1.jar (g:b:1)",
        "not in the lock: c-1.jar",
        "a-1.jar has SHA-256 ff, the lock says aa",
    ]


def test_a_step_is_done_only_for_the_same_inputs(tmp_path: Path) -> None:
    source, stamp = tmp_path / "source", tmp_path / "stamp"
    source.write_text("one")
    before = stamps.digest([source], "fact")
    assert not stamps.is_done(stamp, before)
    stamps.mark_done(stamp, before)
    assert stamps.is_done(stamp, stamps.digest([source], "fact"))
    assert not stamps.is_done(stamp, stamps.digest([source], "another fact"))
    source.write_text("two")
    assert not stamps.is_done(stamp, stamps.digest([source], "fact"))
