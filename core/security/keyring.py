"""Keys: key-encryption keys (KEKs) and the message-id secret from outside Kafka, data keys of instances inside it.

The first KEK of the list encrypts, all of them decrypt. Nothing here is ever logged. The file is made at the first start
with mode 0600; a process that finds it open to others does not start.

A data key gives two subkeys: one names items (HMAC, so that peers' ids do not stand in clear), one encrypts them with
AES-256-GCM, bound to the instance and the item's name so that no value can be moved to another place.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import os
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from core.errors import DBError, SettingsError

KEY_BYTES = 32
NONCE_BYTES = 12
NAME_BYTES = 16
SEALED_VERSION = b"\x01"

RandomBytes = Callable[[int], bytes]


def _subkey(key: bytes, use: bytes) -> bytes:
    return HKDFExpand(algorithm=SHA256(), length=KEY_BYTES, info=b"wharf " + use).derive(key)


def _sized(text: str) -> bytes:
    raw = text.encode()
    return len(raw).to_bytes(4, "big") + raw


def _aad(*parts: str) -> bytes:
    return b"".join(map(_sized, parts))


class DataKey:
    """The key of one instance's state."""

    def __init__(self, instance_id: str, key: bytes, random: RandomBytes = os.urandom) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError("a data key has 32 bytes")
        self.instance_id = instance_id
        # Only the keyring reads it, to wrap it.
        self.raw = key
        self._names = _subkey(key, b"item names")
        self._cipher = AESGCM(_subkey(key, b"item values"))
        self._random = random
        self._aad = _sized(instance_id)

    def __repr__(self) -> str:
        return f"DataKey({self.instance_id!r})"

    def item(self, name: str) -> str:
        """Hex name under which the item stands in the state topic."""
        return hmac.digest(self._names, name.encode(), "sha256")[:NAME_BYTES].hex()

    def seal(self, name: str, value: bytes) -> tuple[str, bytes]:
        """(hex item name, sealed value); the clear name travels inside, so that a restore gets it back."""
        item = self.item(name)
        nonce = self._random(NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, _sized(name) + value, self._aad + _sized(item))
        return item, SEALED_VERSION + nonce + sealed

    def open(self, item: str, sealed: bytes) -> tuple[str, bytes]:
        """(clear name, value) of a sealed item, or `db.state_corrupt`."""
        where: dict[str, Any] = {"instance_id": self.instance_id, "item": item}
        if sealed[:1] != SEALED_VERSION:
            raise DBError("db.state_corrupt", "the item has an unknown version", **where)
        nonce, rest = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        try:
            clear = self._cipher.decrypt(nonce, rest, self._aad + _sized(item))
        except (InvalidTag, ValueError) as cause:
            raise DBError("db.state_corrupt", "the item cannot be decrypted", **where) from cause
        length = int.from_bytes(clear[:4], "big")
        name = clear[4 : 4 + length].decode()
        if self.item(name) != item:
            raise DBError("db.state_corrupt", "the item stands under a wrong name", **where)
        return name, clear[4 + length :]


@dataclass(frozen=True, slots=True)
class _Kek:
    id: str
    cipher: AESGCM


class Keyring:
    """The keys of the file or of the environment. `key_ids[0]` encrypts."""

    def __init__(self, keys: dict[str, bytes], message_id_secret: bytes, random: RandomBytes = os.urandom) -> None:
        if not keys:
            raise SettingsError("config.keys", "there is no key-encryption key")
        self._keks = {key_id: _Kek(key_id, AESGCM(key)) for key_id, key in keys.items()}
        self._random = random
        self.key_ids = tuple(keys)
        self.message_id_secret = message_id_secret

    def __repr__(self) -> str:
        return f"Keyring(key_ids={self.key_ids})"

    @classmethod
    def load(cls, path: Path, given: str | None = None, random: RandomBytes = os.urandom) -> Keyring:
        """`given` is the JSON from the environment and wins; without either the file is made."""
        if given is not None:
            return _parse(given, "the keys setting", random)
        if not path.exists():
            _create(path, random)
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise SettingsError("config.keys", f"{path} has mode {mode:04o}: others may read it; set 0600")
        return _parse(path.read_text(), str(path), random)

    def new_data_key(self, instance_id: str) -> DataKey:
        return DataKey(instance_id, self._random(KEY_BYTES), self._random)

    def wrap(self, data_key: DataKey) -> bytes:
        """JSON {kek_id, nonce, wrapped} under the first key, bound to the instance."""
        kek = self._keks[self.key_ids[0]]
        nonce = self._random(NONCE_BYTES)
        wrapped = kek.cipher.encrypt(nonce, data_key.raw, _aad("data key", data_key.instance_id))
        body = {"kek_id": kek.id, "nonce": _b64(nonce), "wrapped": _b64(wrapped)}
        return json.dumps(body, separators=(",", ":"), sort_keys=True).encode()

    def unwrap(self, instance_id: str, wrapped: bytes) -> DataKey:
        """The data key, or `db.key_unknown` when its key-encryption key is not in the list: the start stops."""
        try:
            body = json.loads(wrapped)
            kek_id, nonce, blob = body["kek_id"], _unb64(body["nonce"]), _unb64(body["wrapped"])
        except (ValueError, KeyError, TypeError) as cause:
            raise DBError("db.state_corrupt", "the data key cannot be read", instance_id=instance_id) from cause
        kek = self._keks.get(kek_id)
        if kek is None:
            raise DBError(
                "db.key_unknown",
                f"the data key is wrapped by {kek_id!r}, known are {', '.join(self.key_ids)}",
                instance_id=instance_id,
                kek_id=kek_id,
            )
        try:
            key = kek.cipher.decrypt(nonce, blob, _aad("data key", instance_id))
        except (InvalidTag, ValueError) as cause:
            raise DBError("db.state_corrupt", "the data key cannot be unwrapped", instance_id=instance_id) from cause
        return DataKey(instance_id, key, self._random)

    def needs_rewrap(self, wrapped: bytes) -> bool:
        """True when an older key wraps it; `wrap(unwrap(...))` renews it."""
        return bool(json.loads(wrapped)["kek_id"] != self.key_ids[0])


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _unb64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _parse(text: str, source: str, random: RandomBytes) -> Keyring:
    try:
        body: dict[str, Any] = json.loads(text)
        if body["version"] != 1:
            raise ValueError("unknown version")
        keys = {str(entry["id"]): _unb64(entry["key"]) for entry in body["keys"]}
        if len(keys) != len(body["keys"]):
            raise ValueError("two keys have the same id")
        secret = _unb64(body["message_id_secret"])
        if len(secret) < KEY_BYTES or any(len(key) != KEY_BYTES for key in keys.values()):
            raise ValueError("a key has the wrong length")
    except (KeyError, TypeError, ValueError, binascii.Error) as cause:
        # Only the kind of fault: the text itself is secret.
        what = f"missing {cause}" if isinstance(cause, KeyError) else type(cause).__name__
        if isinstance(cause, ValueError) and not isinstance(cause, (json.JSONDecodeError, binascii.Error)):
            what = str(cause)
        raise SettingsError("config.keys", f"{source} is malformed: {what}") from None
    return Keyring(keys, secret, random)


def _create(path: Path, random: RandomBytes) -> None:
    """Complete and private from the moment it has its name; of two processes that start together one wins."""
    body = {
        "version": 1,
        "keys": [{"id": f"kek-{random(4).hex()}", "key": _b64(random(KEY_BYTES))}],
        "message_id_secret": _b64(random(KEY_BYTES)),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".keys-")
    try:
        with os.fdopen(handle, "w") as file:
            json.dump(body, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(name, path)
        except FileExistsError:
            return
    finally:
        Path(name).unlink()
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
