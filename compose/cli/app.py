"""The frame of the `wharf` command: which modules it is made of, and how errors end it.

Rule: an error is one line on stderr with the next step, or with `--json` the error as one JSON object; the exit code is
1 for an error, 2 for wrong usage, 130 for Ctrl-C. Only a bug shows a traceback.
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
from collections.abc import Sequence

import typer

from compose.cli.output import plain, stderr
from core.errors import WharfError
from core.telemetry.logs import configure_logging

# Every module here has `register(app: typer.Typer) -> None`; the order is that of `wharf --help`.
COMMANDS: tuple[str, ...] = (
    "compose.cli.stack",
    "compose.cli.connector",
    "compose.cli.instances",
    "compose.cli.send",
    "compose.cli.tail",
    "compose.cli.deadletters",
    "compose.cli.topics",
    "compose.cli.schemas",
    "compose.cli.clickhouse",
    "compose.cli.query",
    "compose.cli.report",
    "compose.cli.bench",
    "compose.cli.chaos",
)

EXIT_ERROR = 1

# Where somebody at a terminal can do more than the catalogue's next step says.
NEXT_STEPS = {
    "db.kafka_unavailable": "`wharf status` shows whether the local stack runs, `wharf up` starts it",
    "db.registry_unavailable": "`wharf status` shows whether the local stack runs, `wharf up` starts it",
    "db.clickhouse_unavailable": "`wharf status` shows whether the local stack runs, `wharf up` starts it",
}


def build() -> typer.Typer:
    """The whole command line."""
    app = typer.Typer(
        name="wharf",
        help="WhatsApp sessions into Kafka, and commands back out.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for name in COMMANDS:
        importlib.import_module(name).register(app)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: ends the process."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Commands say themselves what is wrong; librdkafka would say it again for every attempt.
    configure_logging(level="error", log_format="console", component="wharf")
    logging.getLogger("librdkafka").setLevel(logging.CRITICAL)
    try:
        build()(args=words, prog_name="wharf")
    except WharfError as error:
        if "--json" in words:
            print(json.dumps(error.as_dict()), file=sys.stderr)
        else:
            stderr().print(one_line(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(EXIT_ERROR)


def one_line(error: WharfError) -> str:
    """What went wrong and what to do now; a message that names a command of ours says that already."""
    message = " ".join(error.message.split())
    step = "" if "`wharf " in message else f"; {NEXT_STEPS.get(error.code, error.next_step)}"
    return plain(f"error: {message} [{error.code}]{step}")
