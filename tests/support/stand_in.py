"""A small process in place of a component: serves /healthz, may have children, may die when told.

    stand_in.py PORT [--grandchildren] [--ignore-term] [--die-at-start FILE]

GET /die ends it with exit code 3. With --grandchildren it starts one child in its own process group and one in a
session of its own. With --die-at-start it exits with 4 while FILE holds a number above zero, which it lowers by one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/die":
            os._exit(3)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"status": "ok"}')

    def log_message(self, format: str, *args: object) -> None:
        print("request", self.path, flush=True)


def main(arguments: list[str]) -> None:
    if "--die-at-start" in arguments:
        left = Path(arguments[arguments.index("--die-at-start") + 1])
        if (count := int(left.read_text())) > 0:
            left.write_text(str(count - 1))
            print("dying at start", flush=True)
            sys.exit(4)
    if "--grandchildren" in arguments:
        for new_session in (False, True):
            subprocess.Popen(["sleep", "1000"], start_new_session=new_session)
    if "--ignore-term" in arguments:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ThreadingHTTPServer(("127.0.0.1", int(arguments[0])), Handler).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
