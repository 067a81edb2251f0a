"""Bytes from a client or for it, kept in a file until they are complete. Every failure to keep them is the disk's."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import BinaryIO

from analytics.embedded.disk import Disk
from analytics.embedded.errors import NOT_ENOUGH_SPACE, ServerError


class Spooled:
    """The file is made with the first bytes; `close` when all are there, `drop` in any case."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self.path = path
        self.size = 0
        self._disk = disk
        self._file: BinaryIO | None = None

    def append(self, data: bytes | bytearray) -> None:
        self._disk.check()
        try:
            if self._file is None:
                self._file = self.path.open("wb")
            self._file.write(data)
        except OSError as error:
            self.drop()
            raise _no_space(error) from error
        self.size += len(data)

    def close(self) -> None:
        if self._file is None:
            self.append(b"")
        try:
            if self._file is not None:
                self._file.close()
        except OSError as error:
            raise _no_space(error) from error

    def drop(self) -> None:
        if self._file is not None:
            # Closing writes what is left, which a full disk refuses; it closes all the same.
            with contextlib.suppress(OSError):
                self._file.close()
            self.path.unlink(missing_ok=True)


def _no_space(error: OSError) -> ServerError:
    text = f"Cannot keep the rows until they are complete: {error.strerror or error} (NOT_ENOUGH_SPACE)"
    return ServerError(NOT_ENOUGH_SPACE, text)
