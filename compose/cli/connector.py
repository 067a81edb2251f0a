"""`wharf connector`: one more connector in the foreground, beside those of a stack or on another machine."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from compose.cli.cluster import Data, command_settings, require_kafka
from compose.stack.state import StackFiles
from compose.toolchain import layout
from core.errors import APIError, SettingsError
from core.settings import Settings, env_name, load_settings


def register(app: typer.Typer) -> None:
    app.command(
        epilog="[bold]Examples[/]\n\n"
        "wharf connector --slot berlin-2\n\n"
        "WHARF_KAFKA__EXTERNAL=true WHARF_KAFKA__BOOTSTRAP=kafka:9092 wharf connector --slot berlin-2\n\n"
        "wharf connector --slot berlin-2 --leave"
    )(connector)


def connector(
    slot: Annotated[
        str,
        typer.Option(
            "--slot",
            metavar="NAME",
            help="Its place in the group: unlike every other's, and the same at each start. A second process with the "
            "same slot ends the first.",
        ),
    ],
    leave: Annotated[
        bool,
        typer.Option("--leave", help="Give the slot up for good: its instances go to the others at once; then exit."),
    ] = False,
    data: Data = None,
) -> None:
    """Run one more connector until Ctrl-C; it takes its share of the instances.

    It joins the stack that runs on the data directory, or the cluster that the settings name (kafka.external). On another
    machine it needs the same keys: copy keys.json, or set WHARF_KEYS_FILE or WHARF_KEYS.

    After Ctrl-C the slot keeps its place for connector.session_timeout_ms: started again within that time nothing moves,
    else its instances go to the others. Nobody starts it again when it dies: that is its supervisor's work.
    """
    settings = command_settings(data)
    env = _environment(settings, slot)
    wanted = load_settings(env)
    if not leave:
        require_kafka(wanted)
    arguments = ("--leave",) if leave else ()
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", "connectors", *arguments], env)  # noqa: S606 - no shell is meant


def _environment(settings: Settings, slot: str) -> dict[str, str]:
    """That of the stack here with this slot; refused where no stack is, or where the stack runs the slot itself."""
    folder = settings.data_dir.absolute()
    running = StackFiles(folder).running()
    if running is None and not settings.kafka.external:
        raise SettingsError(
            "config.invalid", f"no stack runs on {folder}: start one with `wharf up`, or set kafka.external"
        )
    if running is not None and any(part.name == slot for part in running.components):
        raise APIError(
            "api.conflict", f"the stack on {folder} runs {slot} itself: `wharf status` shows which slots it has"
        )
    env = {**(running.settings if running else {}), **os.environ}
    if running is None and settings.keys is None and not settings.keys_path.exists():
        raise SettingsError(
            "config.keys",
            f"there are no keys in {settings.keys_path.absolute()}: copy the file of the connectors that run already; keys "
            "of its own would make this one unable to read their sessions, and them its",
        )
    if "host_binary" not in settings.connector.model_fields_set:
        env[env_name("connector.host_binary")] = str(layout.BIN / "wharf-host")
    return env | {env_name("data_dir"): str(folder), env_name("connector.slot"): slot}
