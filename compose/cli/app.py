"""The frame of the `wharf` command: which modules it is made of, and how errors end it.

Rule: an error is one line on stderr with the next step, or with `--json` the error as one JSON object; the exit code is
1 for an error, 2 for wrong usage, 130 for Ctrl-C. Only a bug shows a traceback.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence

import typer

from compose.cli.output import stderr
from core.errors import WharfError

# Every module here has `register(app: typer.Typer) -> None`; the order is that of `wharf --help`.
COMMANDS: tuple[str, ...] = (
    "compose.cli.stack",
    "compose.cli.instances",
    "compose.cli.send",
    "compose.cli.tail",
    "compose.cli.deadletters",
    "compose.cli.topics",
    "compose.cli.schemas",
)

EXIT_ERROR = 1


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
    try:
        build()(args=words, prog_name="wharf")
    except WharfError as error:
        if "--json" in words:
            print(json.dumps(error.as_dict()), file=sys.stderr)
        else:
            stderr().print(one_line(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(EXIT_ERROR)


def one_line(error: WharfError) -> str:
    """What went wrong and what to do now."""
    message = " ".join(error.message.split())
    return f"error: {message} [{error.code}]; {error.next_step}"
