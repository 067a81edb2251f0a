"""The virtual environment: made once, filled from requirements.lock with every hash checked.

Standard library only: this is what installs the rest.
"""

import re
import subprocess
import sys
from pathlib import Path

from compose.toolchain import layout, progress, stamps

_PACKAGES_STAMP = layout.VENV / "wharf-packages.stamp"
_CHDB_LOCK = layout.TOOLCHAIN / "chdb.lock"
_CHDB_STAMP = layout.VENV / "wharf-chdb.stamp"
_PROJECT_STAMP = layout.VENV / "wharf-project.stamp"
_PIP = [str(layout.VENV_PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input"]
_TAIL = 15


class InstallError(RuntimeError):
    """pip could not install what a lock names."""


def _run_pip(arguments: list[str], step: progress.Step, total: int) -> None:
    """Run pip, showing how far it is; what it said is shown only if it fails."""
    said: list[str] = []
    seen = 0
    pip = subprocess.Popen(
        [*_PIP, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=layout.ROOT
    )
    for line in pip.stdout or ():
        said.append(line.rstrip())
        if line.startswith("Collecting "):
            seen += 1
            step.note(f"{seen}/{total} {line.split()[1]}")
        elif line.startswith("Installing "):
            step.note("unpacking")
    if pip.wait() != 0:
        raise InstallError("\n".join(said[-_TAIL:]))


def install_lock(lock: Path, step: progress.Step) -> None:
    """Install what a lock names, nothing else and nothing with another hash."""
    names = re.findall(r"^[A-Za-z0-9][^=\s]*==", lock.read_text(), re.MULTILINE)
    _run_pip(["install", "--require-hashes", "--no-deps", "-r", str(lock)], step, len(names))
    step.result = f"{len(names)} from {lock.name}"


def _version() -> str:
    return ".".join(str(part) for part in sys.version_info[:3])


def ensure() -> None:
    if _is_usable():
        progress.skipped("Virtual environment", "up to date")
    else:
        with progress.step("Virtual environment") as step:
            subprocess.run([sys.executable, "-m", "venv", "--clear", layout.VENV], check=True)
            step.result = f"Python {_version()}"
    _ensure_lock("Python packages", layout.REQUIREMENTS, _PACKAGES_STAMP)
    # A lock of its own: chDB names pandas and pyarrow (269 MB), which nothing here needs.
    _ensure_lock("ClickHouse's engine", _CHDB_LOCK, _CHDB_STAMP)
    inputs = stamps.digest([layout.ROOT / "pyproject.toml"], str(layout.ROOT))
    if not stamps.is_done(_PROJECT_STAMP, inputs):
        with progress.step("The wharf command") as step:
            _run_pip(["install", "--no-deps", "--no-build-isolation", "-e", "."], step, 1)
            step.result = ".venv/bin/wharf"
        stamps.mark_done(_PROJECT_STAMP, inputs)


def _ensure_lock(what: str, lock: Path, stamp: Path) -> None:
    inputs = stamps.digest([lock])
    if stamps.is_done(stamp, inputs):
        progress.skipped(what, "up to date")
        return
    with progress.step(what) as step:
        install_lock(lock, step)
    stamps.mark_done(stamp, inputs)


def _is_usable() -> bool:
    """There is an environment and its Python still runs (the machine's may have been upgraded away)."""
    return (
        layout.VENV_PYTHON.exists()
        and subprocess.call([layout.VENV_PYTHON, "-c", "import pip"], stderr=subprocess.DEVNULL) == 0
    )


def main(arguments: list[str]) -> int:
    try:
        ensure()
    except (InstallError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"setup stopped: {error}\n")
        return 1
    return subprocess.call([layout.VENV_PYTHON, "-m", "compose.toolchain", *arguments], cwd=layout.ROOT)
