"""`wharf instances`: the instances, by requests to the registrar and commands to their sessions."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

import typer

from compose.cli import pairing
from compose.cli.cluster import Cluster, Data, Timeout, command_settings, note
from compose.cli.commands import GOOD, catalogued, command, failure, follow, now_ms
from compose.cli.output import Json, print_json, print_table, stdout
from core.envelope import rfc3339
from core.errors import APIError
from core.jid import parse_phone

Name = Annotated[str, typer.Argument(metavar="NAME", help="The instance, e.g. sales-1.")]
# Said of a session without changing whether it is online.
_IN_PASSING = frozenset({"gap", "offline_sync", "unknown"})


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Add, show, pair and remove instances.", no_args_is_help=True)
    group.command("add", epilog="[bold]Example[/]\n\nwharf instances add sales-1 --label 'Sales, first phone'")(add)
    group.command("list")(list_instances)
    group.command("show")(show)
    group.command("pair", epilog="[bold]Example[/]\n\nwharf instances pair sales-1 --code +4915123456789")(pair)
    group.command("logout")(logout)
    group.command("remove")(remove)
    app.add_typer(group, name="instances")


def add(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A slug of your choice: a-z, 0-9, - and _. It never changes.")
    ],
    label: Annotated[str | None, typer.Option("--label", help="Name for people.")] = None,
    tier: Annotated[str | None, typer.Option("--tier", help="Tier of limits.")] = None,
    proxy: Annotated[str | None, typer.Option("--proxy", help="http, https or socks5 URL.")] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", help="Tenant it belongs to.")] = None,
    no_limits: Annotated[bool, typer.Option("--no-limits", help="Switch the limits off.")] = False,
    simulated: Annotated[bool, typer.Option("--simulated", help="Talk to the simulated WhatsApp.")] = False,
    setting: Annotated[list[str] | None, typer.Option("--set", help="Driver setting, NAME=VALUE; repeatable.")] = None,
    timeout: Timeout = 15.0,
    data: Data = None,
    json: Json = False,
) -> None:
    """Create an instance; then `wharf instances pair NAME` links it to a phone."""
    body = {
        "label": label,
        "tier": tier,
        "proxy": proxy,
        "tenant": tenant,
        "simulated": simulated or None,
        "limits": {"mode": "off"} if no_limits else None,
        "settings": _settings(setting or []),
    }
    audit = _request(Cluster(command_settings(data)), "instance_create", name, body, timeout)
    if json:
        print_json(audit)
    else:
        stdout().print(f"{name} added (version {audit['version']}); next: wharf instances pair {name}", soft_wrap=True)


def list_instances(data: Data = None, json: Json = False) -> None:
    """Show all instances with the last state of their sessions."""
    cluster = Cluster(command_settings(data))
    instances = known_instances(cluster)
    states = last_states(cluster, instances)
    if json:
        for name, instance in instances.items():
            print_json({**instance, "session": states.get(name)})
        return
    rows = [
        (
            name,
            _state(states.get(name)),
            instance["desired"],
            _account(states.get(name)),
            _what(instance),
            instance["label"],
        )
        for name, instance in instances.items()
    ]
    columns = ("instance", "state", "desired", "account", "driver", "label")
    print_table(columns, rows, empty="no instances; `wharf instances add NAME` creates one")


def show(name: Name, data: Data = None, json: Json = False) -> None:
    """Show one instance with everything that is set."""
    cluster = Cluster(command_settings(data))
    instances = known_instances(cluster)
    if name not in instances:
        raise APIError("api.not_found", f"there is no instance {name}; `wharf instances list` shows all")
    state = last_states(cluster, instances).get(name)
    if json:
        print_json({**instances[name], "session": state})
        return
    instance = instances[name]
    times = {"created": rfc3339(instance["generation"]), "updated_at": rfc3339(instance["updated_at"])}
    facts = {"state": _state(state), "account": _account(state), **instance, **times}
    print_table(("field", "value"), [(key, "" if value is None else value) for key, value in facts.items()], empty="")


def pair(
    name: Name,
    code: Annotated[
        str | None,
        typer.Option("--code", metavar="PHONE", help="Pair by a code typed into this phone instead of a QR code."),
    ] = None,
    timeout: Timeout = 300.0,
    data: Data = None,
    json: Json = False,
) -> None:
    """Link the instance to a phone: draws the QR code and follows it until the phone is paired."""
    method: dict[str, Any] = {"method": "qr"}
    if code is not None:
        method = {"method": "code", "phone": parse_phone(code, "--code")}
    record = command(str(uuid.uuid4()), name, "pair", pairing=method)
    final = pairing.watch(Cluster(command_settings(data)), record, timeout, json=json)
    if final["state"] not in GOOD:
        raise failure(final)
    if not json:
        stdout().print(f"{name} is paired; next: wharf send {name} +4915123456789 Hello", soft_wrap=True)


def logout(name: Name, timeout: Timeout = 60.0, data: Data = None, json: Json = False) -> None:
    """Unlink the instance's device at WhatsApp. It can be paired again."""
    record = command(str(uuid.uuid4()), name, "logout")
    final: dict[str, Any] = {}
    for seen in follow(Cluster(command_settings(data)), record, timeout):
        final = seen.value
        if json:
            print_json(final)
    if final["state"] not in GOOD:
        raise failure(final)
    if not json:
        stdout().print(f"{name} is logged out; next: wharf instances pair {name}, or remove {name}", soft_wrap=True)


def remove(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    timeout: Timeout = 15.0,
    data: Data = None,
    json: Json = False,
) -> None:
    """Delete an instance; its unfinished commands end as cancelled. Log it out first to unlink the device."""
    if not yes:
        typer.confirm(f"Delete {name} and its session?", abort=True, err=True)
    audit = _request(Cluster(command_settings(data)), "instance_delete", name, None, timeout)
    if json:
        print_json(audit)
    else:
        stdout().print(f"{name} removed")


def _request(cluster: Cluster, kind: str, name: str, body: dict[str, Any] | None, seconds: float) -> dict[str, Any]:
    """The registrar's answer to a request it accepted."""
    record = {
        "request_id": str(uuid.uuid4()),
        "kind": kind,
        "instance_id": name,
        "body": body,
        "requested_by": "wharf-cli",
        "requested_at": now_ms(),
    }
    for seen in cluster.ask(["audit"], lambda: cluster.produce("control", name, record), seconds):
        audit = seen.value
        if audit.get("request_id") != record["request_id"]:
            continue
        if audit["outcome"] == "accepted":
            return audit
        raise catalogued(audit["error"], audit["error"]["message"])
    raise APIError(
        "api.in_flight",
        f"the registrar did not answer request {record['request_id']} within {seconds:g} s; `wharf status` shows whether "
        "it runs, `wharf tail audit` the answer when it comes",
    )


def known_instances(cluster: Cluster) -> dict[str, dict[str, Any]]:
    """Those that are not deleted, by name."""
    found: dict[str, dict[str, Any]] = {}
    for seen in cluster.read(["instances"]):
        if seen.fault is not None:
            note(f"instance {seen.instance} cannot be read: {seen.fault.message}")
        elif seen.record.value is None or seen.value["desired"] == "deleted":
            found.pop(seen.instance, None)
        else:
            found[seen.instance] = seen.value
    return dict(sorted(found.items()))


def last_states(cluster: Cluster, instances: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The last session event that tells a state, of the present generation of each instance."""
    if not instances:
        return {}
    last: dict[str, dict[str, Any]] = {}
    accounts: dict[str, Any] = {}
    for seen in cluster.read(["events.session"]):
        instance = instances.get(seen.instance)
        if instance is None or not seen.value or seen.value["envelope"]["generation"] != instance["generation"]:
            continue
        if seen.value["state"] not in _IN_PASSING:
            last[seen.instance] = seen.value
        accounts[seen.instance] = seen.value["self"] or accounts.get(seen.instance)
    return {name: {**event, "self": accounts[name]} for name, event in last.items()}


def _state(event: dict[str, Any] | None) -> str:
    if event is None:
        return "new"
    return f"{event['state']}: {event['reason']}" if event["reason"] else str(event["state"])


def _account(event: dict[str, Any] | None) -> str:
    account = None if event is None else event["self"]
    return "" if account is None else str(account["pn"] or account["jid"])


def _what(instance: dict[str, Any]) -> str:
    return f"{instance['driver']} (simulated)" if instance["simulated"] else str(instance["driver"])


def _settings(pairs: list[str]) -> dict[str, str] | None:
    for pair_text in pairs:
        if not pair_text.partition("=")[1]:
            raise APIError("api.validation", f"--set {pair_text}: NAME=VALUE is expected", field="--set")
    return {name: value for name, _, value in (text.partition("=") for text in pairs)} or None
