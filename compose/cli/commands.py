"""A command to an instance: produced, and its results followed until the final one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from compose.cli.cluster import Cluster, Seen
from core.errors import APIError, WharfError, error

GOOD = frozenset({"sent", "done"})


def command(command_id: str, instance: str, kind: str, **fields: Any) -> dict[str, Any]:
    """A Command record; fields left out are at their defaults."""
    return {"command_id": command_id, "instance_id": instance, "type": kind, "requested_by": "wharf-cli", **fields}


def follow(cluster: Cluster, record: dict[str, Any], seconds: float, also: Sequence[str] = ()) -> Iterator[Seen]:
    """Produce the command and yield what concerns it on `results` and the topics of `also`; ends with its final result.

    APIError when the time is up before.
    """
    instance, command_id = record["instance_id"], record["command_id"]

    def act() -> None:
        cluster.produce("commands", instance, record)

    for seen in cluster.ask(["results", *also], act, seconds):
        if seen.topic == "results":
            if seen.value.get("command_id") != command_id:
                continue
            yield seen
            if seen.value["final"]:
                return
        elif seen.instance == instance:
            yield seen
    raise APIError(
        "api.in_flight",
        f"no final result for {command_id} within {seconds:g} s; `wharf tail results --instance {instance}` shows it "
        "when it comes, `wharf status` whether everything runs",
    )


def failure(result: dict[str, Any]) -> WharfError:
    """The error that a final result other than sent and done tells."""
    told = result.get("error")
    if told is None:
        return APIError("api.conflict", f"the command ended as {result['state']}")
    return catalogued(told, f"{result['state']}: {told['message']}")


def catalogued(told: dict[str, Any], message: str) -> WharfError:
    """The error of a record; one of a later version's catalogue keeps its code in the text."""
    try:
        return error(told["code"], message, field=told.get("field"))
    except ValueError:
        return APIError("api.conflict", f"{message} [{told['code']}]")


def now_ms() -> int:
    return time.time_ns() // 1_000_000
