"""The answer to one HTTP request: whole, or streamed in chunks, or a failure."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import BinaryIO, Final

from analytics.embedded.errors import ABORTED, AUTHENTICATION_FAILED, READONLY, TOO_MANY_CONNECTIONS, ServerError
from analytics.embedded.wire import CHUNK

_TYPES: Final = {
    "tabseparated": "text/tab-separated-values; charset=UTF-8",
    "tsv": "text/tab-separated-values; charset=UTF-8",
    "csv": "text/csv; charset=UTF-8; header=absent",
    "csvwithnames": "text/csv; charset=UTF-8; header=present",
    "json": "application/json; charset=UTF-8",
    "jsoncompact": "application/json; charset=UTF-8",
    "jsoneachrow": "application/x-ndjson; charset=UTF-8",
}
_STATUS = {60: 404, 81: 404, 62: 400, 47: 400, 48: 501, READONLY: 403, TOO_MANY_CONNECTIONS: 503, ABORTED: 503}
_STATUS |= {AUTHENTICATION_FAILED: 403, 497: 403}


class Answer:
    """`began` once its first line was sent; then its status cannot tell a failure any more."""

    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        self._handler = handler
        self._began = False

    def whole(self, content: bytes, format_name: str = "", *, written: int = 0) -> None:
        summary = f'{{"read_rows":"0","read_bytes":"0","written_rows":"{written}","written_bytes":"0"}}'
        self._begin(200, format_name, Content_Length=str(len(content)), X_ClickHouse_Summary=summary)
        self._handler.wfile.write(content)

    def file(self, content: BinaryIO, size: int, format_name: str) -> None:
        self._begin(200, format_name, Content_Length=str(size))
        shutil.copyfileobj(content, self._handler.wfile, CHUNK)

    def stream(self, pieces: Iterator[bytes], format_name: str) -> None:
        first = next(pieces, b"")
        if not first:
            self.whole(b"", format_name)
            return
        self._begin(200, format_name, Transfer_Encoding="chunked")
        self._chunk(first)
        for piece in pieces:
            self._chunk(piece)
        self._handler.wfile.write(b"0\r\n\r\n")

    def fail(self, error: ServerError) -> None:
        """A failure in the middle is told in the body, which then ends without its end: no client takes it for whole."""
        self._handler.close_connection = True
        content = f"{error}\n".encode("utf-8", "replace")
        if self._began:
            self._chunk(content)
            return
        code = str(error.code)
        status = _STATUS.get(error.code, 500)
        self._begin(status, "", Content_Length=str(len(content)), X_ClickHouse_Exception_Code=code)
        self._handler.wfile.write(content)

    def _begin(self, status: int, format_name: str, **headers: str) -> None:
        self._began = True
        handler = self._handler
        handler.send_response(status)
        handler.send_header("X-ClickHouse-Query-Id", str(uuid.uuid4()))
        handler.send_header("X-ClickHouse-Timezone", "UTC")
        handler.send_header("X-ClickHouse-Server-Display-Name", "wharf")
        if format_name:
            handler.send_header("X-ClickHouse-Format", format_name)
        handler.send_header("Content-Type", _TYPES.get(format_name.lower(), "text/plain; charset=UTF-8"))
        if handler.close_connection:
            handler.send_header("Connection", "close")
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()

    def _chunk(self, piece: bytes) -> None:
        self._handler.wfile.write(b"%x\r\n" % len(piece))
        self._handler.wfile.write(piece)
        self._handler.wfile.write(b"\r\n")
