"""`python -m connectors`: one connector process; with `--leave` its slot is given up for good.

Its start is somebody's fail-over, so it is short: what only draws on terminals stays out, and nothing is collected while
modules are read. Together two fifths of the time.
"""

import gc
import sys

gc.disable()
# structlog and httpx import them if they can, for colours and for a command of their own.
sys.modules.update(dict.fromkeys(("rich", "click")))  # type: ignore[arg-type]

from connectors.app import main  # noqa: E402

gc.freeze()
gc.enable()

if __name__ == "__main__":
    sys.exit(main())
