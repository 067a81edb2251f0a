"""One session-host process and the socket pair to it.

The host inherits its end as file descriptor 3 and exits when it reads the end of it, so that it cannot outlive this
process. A reader thread parses frames as they come; how much can pile up is bounded by the credit the host was given.
A writer thread joins whatever is waiting into one write, so that nobody who sends ever blocks on a full socket.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from google.protobuf.message import DecodeError

from connectors.drivers.whatsmeow import host_pb2 as pb
from connectors.drivers.whatsmeow.framing import FrameError, FrameReader, frame
from core.telemetry.logs import get_logger

HOST_FD = 3
_READ_BYTES = 1 << 20
_WRITE_BYTES = 4 << 20

OnFrame = Callable[[pb.FromHost, int], None]
OnGone = Callable[[str], None]


class HostProcess:
    """Running from construction until `on_gone` is called, once, from the reader thread."""

    def __init__(
        self, binary: Path, arguments: Sequence[str], environment: Mapping[str, str], on_frame: OnFrame, on_gone: OnGone
    ) -> None:
        self._on_frame = on_frame
        self._on_gone = on_gone
        self._out: deque[bytes] = deque()
        self._wanted = threading.Condition()
        self._closing = False
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            self.pid = os.posix_spawn(
                binary,
                [str(binary), *arguments],
                dict(environment),
                # The host's own log is ours: both of its streams go to this process's stderr.
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, theirs.fileno(), HOST_FD),
                    (os.POSIX_SPAWN_DUP2, 2, 1),
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                ],
                # A Ctrl-C in the terminal is for the supervisor; this process ends its host itself.
                setsigmask=[],
                setpgroup=0,
            )
        self._socket = ours
        self._reader = threading.Thread(target=self._read, name=f"host-{self.pid}-reader", daemon=True)
        self._writer = threading.Thread(target=self._write, name=f"host-{self.pid}-writer", daemon=True)
        self._reader.start()
        self._writer.start()

    def send(self, message: pb.ToHost) -> None:
        """Queued; in order; lost without a word when the host is gone, which `on_gone` tells."""
        data = frame(message.SerializeToString())
        with self._wanted:
            self._out.append(data)
            self._wanted.notify()

    def stop(self, grace_s: float) -> None:
        """End of file, then SIGKILL for one that does not go."""
        with self._wanted:
            self._closing = True
            self._wanted.notify()
        self._writer.join(grace_s / 2)
        self._hang_up()
        self._reader.join(grace_s / 2)
        if self._reader.is_alive():
            os.kill(self.pid, signal.SIGKILL)
            self._reader.join()

    def _hang_up(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError as gone:
            get_logger(__name__).debug("host_socket_gone", error=gone)

    def _read(self) -> None:
        reason = "end of its stream"
        frames = FrameReader()
        try:
            while data := self._socket.recv(_READ_BYTES):
                for body in frames.feed(data):
                    self._on_frame(pb.FromHost.FromString(body), len(body))
        except (FrameError, DecodeError) as broken:
            reason = f"protocol error: {broken}"
            get_logger(__name__).error("host_protocol_error", pid=self.pid, error=broken)
            # Whoever breaks the protocol need not go when its socket ends.
            os.kill(self.pid, signal.SIGKILL)
        except OSError as gone:
            reason = gone.strerror or str(gone)
        with self._wanted:
            self._closing = True
            self._wanted.notify()
        self._hang_up()
        self._socket.close()
        _, status = os.waitpid(self.pid, 0)
        self._on_gone(f"{reason}; exit code {os.waitstatus_to_exitcode(status)}")

    def _write(self) -> None:
        while True:
            with self._wanted:
                while not self._out and not self._closing:
                    self._wanted.wait()
                if not self._out:
                    return
                parts, size = [], 0
                while self._out and size < _WRITE_BYTES:
                    parts.append(self._out.popleft())
                    size += len(parts[-1])
            try:
                self._socket.sendall(b"".join(parts))
            except OSError as gone:
                get_logger(__name__).debug("host_write_failed", pid=self.pid, error=gone)
                return
