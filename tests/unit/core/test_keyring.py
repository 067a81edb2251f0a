"""Keys: made once and private, unwrapped only by the right ones, and no sealed item can be moved or changed unseen."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from core.errors import DBError, SettingsError
from core.security.keyring import Keyring


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "keys.json"


def ring(*names: str) -> Keyring:
    return Keyring({name: name.encode().ljust(32, b".") for name in names}, b"s" * 32)


def test_the_file_is_made_once_and_private(path: Path) -> None:
    first = Keyring.load(path)
    assert path.stat().st_mode & 0o777 == 0o600
    second = Keyring.load(path)
    assert second.key_ids == first.key_ids
    assert second.message_id_secret == first.message_id_secret
    assert list(path.parent.iterdir()) == [path]
    key = first.new_data_key("i")
    assert second.unwrap("i", first.wrap(key)).raw == key.raw


def test_two_first_starts_at_once_agree(path: Path) -> None:
    rings: list[Keyring] = []
    gate = threading.Barrier(8)

    def load() -> None:
        gate.wait()
        rings.append(Keyring.load(path))

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({made.message_id_secret for made in rings}) == 1
    assert len(rings) == 8


def test_a_file_open_to_others_stops_the_start(path: Path) -> None:
    Keyring.load(path)
    path.chmod(0o640)
    with pytest.raises(SettingsError, match="mode 0640"):
        Keyring.load(path)


def test_the_environment_wins_over_the_file(path: Path) -> None:
    Keyring.load(path)
    given_json = json.loads(path.read_text())
    given_json["keys"][0]["id"] = "from-env"
    assert Keyring.load(path, json.dumps(given_json)).key_ids == ("from-env",)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"version": 2}',
        '{"version": 1, "keys": [], "message_id_secret": "AA=="}',
        '{"version": 1, "keys": [{"id": "a", "key": "TOPSECRET"}], "message_id_secret": "AA=="}',
        '{"version": 1, "keys": [{"id": "a"}], "message_id_secret": "AA=="}',
    ],
)
def test_a_malformed_file_stops_the_start_without_showing_it(path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match="malformed") as told:
        Keyring.load(path, text)
    assert "TOPSECRET" not in str(told.value)


def test_the_first_key_encrypts_and_all_decrypt() -> None:
    old, both = ring("old"), ring("new", "old")
    key = old.new_data_key("i")
    wrapped = old.wrap(key)
    assert both.unwrap("i", wrapped).raw == key.raw
    assert both.needs_rewrap(wrapped)
    again = both.wrap(both.unwrap("i", wrapped))
    assert not both.needs_rewrap(again)
    assert ring("new").unwrap("i", again).raw == key.raw


def test_an_unknown_key_is_named() -> None:
    wrapped = ring("old").wrap(ring("old").new_data_key("i"))
    with pytest.raises(DBError, match=r"db\.key_unknown.*'old'.*known are new"):
        ring("new").unwrap("i", wrapped)


def test_a_wrapped_key_belongs_to_its_instance() -> None:
    keys = ring("k")
    with pytest.raises(DBError, match=r"db\.state_corrupt"):
        keys.unwrap("other", keys.wrap(keys.new_data_key("i")))


@pytest.mark.parametrize("wrapped", [b"", b"{}", b"[1]", b'{"kek_id":"k","nonce":"!","wrapped":""}'])
def test_a_damaged_data_key_is_told(wrapped: bytes) -> None:
    with pytest.raises(DBError, match=r"db\.state_corrupt"):
        ring("k").unwrap("i", wrapped)


names = st.text(max_size=20)


@given(name=names, value=st.binary(max_size=200))
def test_sealed_items_open_again_and_show_nothing(name: str, value: bytes) -> None:
    key = ring("k").new_data_key("i")
    item, sealed = key.seal(name, value)
    assert key.open(item, sealed) == (name, value)
    assert item == key.item(name)
    assert len(bytes.fromhex(item)) == 16
    assert len(value) < 8 or value not in sealed


@given(name=names, value=st.binary(max_size=50), flip=st.integers(0, 10_000))
def test_any_changed_bit_is_seen(name: str, value: bytes, flip: int) -> None:
    key = ring("k").new_data_key("i")
    item, sealed = key.seal(name, value)
    bit = flip % (len(sealed) * 8)
    changed = bytearray(sealed)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DBError, match=r"db\.state_corrupt"):
        key.open(item, bytes(changed))


@given(a=names, b=names)
def test_an_item_cannot_stand_in_another_place(a: str, b: str) -> None:
    assume(a != b)
    keys = ring("k")
    key = keys.new_data_key("i")
    item_a, sealed = key.seal(a, b"v")
    assert key.item(b) != item_a
    with pytest.raises(DBError, match=r"db\.state_corrupt"):
        key.open(key.item(b), sealed)
    with pytest.raises(DBError, match=r"db\.state_corrupt"):
        keys.new_data_key("i").open(item_a, sealed)


def test_item_names_differ_between_instances() -> None:
    keys = ring("k")
    assert keys.new_data_key("a").item("x") != keys.new_data_key("b").item("x")


def test_keys_do_not_show_in_text() -> None:
    keys = Keyring({"k": b"K" * 32}, b"S" * 32)
    key = keys.new_data_key("i")
    assert repr(keys) == "Keyring(key_ids=('k',))"
    assert repr(key) == "DataKey('i')"
