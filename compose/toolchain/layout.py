"""Where the toolchain keeps things, all of it below the project's folder and none of it in version control.

Standard library only: the bootstrap imports it before anything is installed.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLCHAIN = ROOT / "compose" / "toolchain"
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
REQUIREMENTS = ROOT / "requirements.lock"
BUILD = ROOT / "build"
BIN = BUILD / "bin"
GO_MODULE = ROOT / "connectors" / "go"
