"""The frame of the command line: every command has help, every error is one line with a next step and an exit code."""

from __future__ import annotations

import json
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from compose.cli.app import build, main, one_line
from compose.cli.output import as_json, plain
from core.errors import APIError, DBError


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """No stack, no settings of the machine, and no Kafka: what needs one fails."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WHARF_KAFKA__BOOTSTRAP", "127.0.0.1:1")
    monkeypatch.setenv("WHARF_REGISTRY__URL", "http://127.0.0.1:1")


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(words)
    return int(caught.value.code or 0)


def leaves() -> list[tuple[str, ...]]:
    """Every command as it is typed."""
    found: list[tuple[str, ...]] = []

    def walk(command: Any, words: tuple[str, ...]) -> None:
        if isinstance(command, TyperGroup):
            for name, inner in command.commands.items():
                walk(inner, (*words, name))
        else:
            found.append(words)

    walk(typer.main.get_command(build()), ())
    return found


def test_the_commands_are_there() -> None:
    assert {" ".join(words) for words in leaves()} >= {
        "up", "down", "status", "logs", "send", "tail", "topics apply", "topics diff", "schemas apply", "schemas check",
        "instances add", "instances list", "instances show", "instances pair", "instances logout", "instances remove",
        "deadletters list", "deadletters show",
    }  # fmt: skip


@pytest.mark.parametrize("words", leaves(), ids=" ".join)
def test_every_command_explains_itself(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*words, "--help") == 0
    text = capsys.readouterr().out
    assert f"wharf {' '.join(words)}" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["send", "sales-1", "anna", "hi"], "'anna': neither a phone number nor a JID [api.validation]"),
        (["send", "sales-1", "0151 2345678", "hi"], "country code"),
        (
            ["send", "sales-1", "+49151234567", "hi", "--quote-sender", "+49151234567"],
            "--quote-sender goes with --quote",
        ),
        (["tail", "nope"], "there is no topic nope; there are audit, commands"),
        (["tail", "results", "--from", "yesterday"], "a time like 2026-03-01T09:00"),
        (["deadletters", "show", "x"], "PARTITION:OFFSET is expected"),
        (["instances", "add", "a", "--set", "x"], "NAME=VALUE is expected"),
        (["instances", "pair", "a", "--code", "anna"], "neither a phone number"),
        (["topics", "diff"], "`wharf up` starts it"),
        (["schemas", "check"], "`wharf up` starts it"),
    ],
)
def test_an_error_is_one_line_with_the_next_step(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert said in err


def test_with_json_the_error_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("send", "sales-1", "anna", "hi", "--json") == 1
    body = json.loads(capsys.readouterr().err)
    assert (body["code"], body["field"]) == ("api.validation", "TO")


def test_wrong_usage_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("send") == 2
    assert "INSTANCE" in capsys.readouterr().err


def test_a_bad_setting_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WHARF_KAFKA__PREFX", "x.")
    assert run("topics", "diff") == 1
    assert "WHARF_KAFKA__PREFIX" in capsys.readouterr().err


def test_a_message_that_names_a_command_needs_no_second_step() -> None:
    assert one_line(APIError("api.not_found", "nothing; `wharf x` helps")).endswith("helps [api.not_found]")
    assert one_line(APIError("api.not_found", "nothing")).endswith("; check the name")
    assert one_line(DBError("db.redis_unavailable", "a\nb")).startswith("error: a b ")


def test_texts_of_others_cannot_steer_the_terminal() -> None:
    assert plain("a\x1b[31mb\nc\r\x07é→") == "a [31mb c  é→"


def test_bytes_are_base64_in_json() -> None:
    assert as_json({"a": b"\xff"}) == '{"a": "/w=="}'
