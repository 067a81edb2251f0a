"""Errors: the catalogue is complete, and the JSON is uniform."""

from __future__ import annotations

import json

import pytest

from core.errors import (
    CATALOGUE,
    APIError,
    DBError,
    Fenced,
    PoisonError,
    SettingsError,
    WharfError,
    WhatsAppError,
    error,
)


@pytest.mark.parametrize("code", sorted(CATALOGUE))
def test_every_code_has_a_class_a_meaning_and_a_next_step(code: str) -> None:
    made = error(code, "so it is")
    assert {"api": APIError, "db": DBError, "wa": WhatsAppError, "config": SettingsError}[
        code.partition(".")[0]
    ] is type(made)
    body = json.loads(json.dumps(made.as_dict()))
    assert body["code"] == code
    assert body["title"]
    assert body["next_step"]
    assert 400 <= body["status"] < 600
    assert body["retryable"] is CATALOGUE[code].retryable


@pytest.mark.parametrize("made", [lambda: APIError("wa.invalid", "x"), lambda: DBError("db.none", "x")])
def test_a_code_of_another_class_or_of_none_cannot_be_raised(made: type[WharfError]) -> None:
    with pytest.raises(ValueError, match="is no code of"):
        made()  # type: ignore[call-arg]


def test_facts_of_the_error_come_back() -> None:
    made = WhatsAppError(
        "wa.transient", "503", retryable=False, outcome="unknown", upstream={"code": 503}, field="to", instance_id="a"
    )
    body = made.as_dict()
    assert (body["retryable"], body["outcome"], body["upstream"]) == (False, "unknown", {"code": 503})
    assert (body["field"], body["instance_id"]) == ("to", "a")
    assert "outcome" not in APIError("api.validation", "x").as_dict()


def test_the_tree() -> None:
    assert issubclass(PoisonError, APIError)
    assert isinstance(Fenced("x", slot="a"), DBError)
    assert Fenced("x").code == "db.kafka_fenced"
