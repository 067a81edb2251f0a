"""`python -m analytics.embedded`: ClickHouse on loopback, where `clickhouse.port` and `clickhouse.http_port` say."""

from __future__ import annotations

import sys

from analytics.embedded.app import run
from core.errors import WharfError
from core.settings import load_settings


def main() -> None:
    try:
        sys.exit(run(load_settings()))
    except WharfError as error:
        sys.exit(f"{error.code}: {error.message}")


if __name__ == "__main__":
    main()
