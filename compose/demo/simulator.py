"""The simulator's control API, as far as demo and tests use it; docs/simulator.md describes all of it."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

import httpx

CALL_SECONDS = 30.0


class SimulatorError(RuntimeError):
    """The simulator refused; its own words."""


class Simulator:
    """Thread-safe. Phones are numbers without `+`."""

    def __init__(self, control_url: str) -> None:
        self._http = httpx.Client(base_url=control_url, timeout=CALL_SECONDS)

    def __enter__(self) -> Simulator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def info(self) -> dict[str, Any]:
        return self._dict("GET", "/v1/info")

    def phones(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._ask("GET", "/v1/phones")
        return found

    def scan(self, phone: str, qr: str) -> str:
        """What the owner of the phone does with a QR code; the address of the new device."""
        return str(self._dict("POST", f"/v1/phones/{phone}/scan", {"qr": qr})["jid"])

    def add_contact(self, phone: str, name: str = "", *, auto_reply: bool = False) -> dict[str, Any]:
        return self._dict("POST", "/v1/contacts", {"phone": phone, "name": name, "auto_reply": auto_reply})

    def send(self, contact: str, to: str, text: str, **more: Any) -> str:
        """The message's id, once the server has accepted it."""
        return str(self._dict("POST", f"/v1/contacts/{contact}/send", {"to": to, "text": text, **more})["id"])

    def flood(
        self, contact: str, to: str, count: int, prefix: str, rate_per_s: float = 0.0, after_ms: int = 0
    ) -> list[str]:
        body = {"to": to, "count": count, "prefix": prefix, "rate_per_s": rate_per_s, "after_ms": after_ms}
        ids: list[str] = self._dict("POST", f"/v1/contacts/{contact}/flood", body)["ids"]
        return ids

    def ledger(self, *, dedupe: bool = False) -> dict[str, list[dict[str, Any]]]:
        return self._dict("GET", f"/v1/ledger?dedupe={str(dedupe).lower()}")

    def clear_ledger(self) -> None:
        self._ask("DELETE", "/v1/ledger")

    def kick(self, phone: str, **how: Any) -> None:
        self._ask("POST", f"/v1/phones/{phone}/kick", how)

    def fail(self, phone: str, **how: Any) -> None:
        self._ask("POST", f"/v1/phones/{phone}/fail", how)

    def faults(self, phone: str, **faults: Any) -> None:
        self._ask("POST", f"/v1/phones/{phone}/faults", faults)

    def _dict(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = self._ask(method, path, body)
        return answer

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        answer = self._http.request(method, path, json=dict(body) if body is not None else None)
        if answer.is_error:
            raise SimulatorError(f"{method} {path}: {answer.status_code} {answer.text.strip()}")
        return answer.json() if answer.content else None
