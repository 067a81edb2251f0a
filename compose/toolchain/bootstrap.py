"""From a bare Python to the project's virtual environment, then on to the rest of the toolchain.

Run by whatever `python3` the machine has, so: the standard library only, and syntax that old versions can read, because
telling them that they are too old is this program's first duty.
"""

import os
import shutil
import subprocess
import sys

OLDEST, NEWEST = (3, 11), (3, 13)
_ASK = (
    "import sys, importlib.util as u;"
    "sys.exit(0 if (%r <= sys.version_info[:2] <= %r and u.find_spec('venv') and u.find_spec('ensurepip')) else 1)"
    % (OLDEST, NEWEST)
)


def find_python():
    # type: () -> str | None
    """A Python of a supported version with its venv module; this one if it will do."""
    names = [sys.executable] + ["python3.%d" % minor for minor in range(NEWEST[1], OLDEST[1] - 1, -1)]
    for name in names:
        path = shutil.which(name)
        if path and subprocess.call([path, "-c", _ASK], stderr=subprocess.DEVNULL) == 0:
            return path
    return None


def main(arguments):
    # type: (list[str]) -> int
    python = find_python()
    if python is None:
        sys.stderr.write(
            "wharf needs Python 3.11, 3.12 or 3.13 with its venv module"
            " (on Debian and Ubuntu: apt-get install python3-venv); found only Python %d.%d at %s\n"
            % (sys.version_info[0], sys.version_info[1], sys.executable)
        )
        return 1
    if os.path.realpath(python) != os.path.realpath(sys.executable):
        return subprocess.call([python, "-m", "compose.toolchain.bootstrap", *arguments])
    # Only now: it is written for the supported versions.
    from compose.toolchain import environment

    return environment.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
