"""A host process that speaks the framing: says hello, opens, echoes every send and lease as an entry, dies on command."""

import os
import socket
import sys
import threading

from connectors.drivers.whatsmeow import host_pb2 as pb
from connectors.drivers.whatsmeow.framing import FrameReader, frame

link = socket.socket(fileno=3)
frames = FrameReader()


def say(**body: object) -> None:
    link.sendall(frame(pb.FromHost(**body).SerializeToString()))  # type: ignore[arg-type]


position = 0
while data := link.recv(65536):
    for body in frames.feed(data):
        message = pb.ToHost.FromString(body)
        kind = message.WhichOneof("body")
        if kind == "hello":
            say(hello_reply=pb.HelloReply(protocol_version=1, library_version="scripted"))
        elif kind == "restore_items" and message.restore_items.last:
            names = ",".join(sorted(item.name for item in message.restore_items.items))
            other = pb.OtherEvent(type="restored", json=names)
            position += 1
            entry = pb.JournalEntry(
                session=message.restore_items.session, position=position, events=[pb.Event(other=other)]
            )
            say(entry=entry)
        elif kind == "send":
            if message.send.command_id == "die":
                os._exit(7)
            if message.send.command_id == "babble and stay":
                link.sendall(b"\xff\xff\xff\xff")
                threading.Event().wait()
            if message.send.command_id == "no message":
                link.sendall(frame(b"\xff\xff"))
                threading.Event().wait()
            if message.send.command_id == "babble":
                link.sendall(b"\xff\xff\xff\xff")
                sys.exit(0)
            position += 1
            say(entry=pb.JournalEntry(session=message.send.session, position=position))
        elif kind == "lease":
            told = pb.Event(other=pb.OtherEvent(type="lease", json=str(message.lease.until_ms)))
            say(entry=pb.JournalEntry(session=0, events=[told]))
        elif kind == "close_session":
            say(closed=pb.SessionClosed(session=message.close_session.session, reason="requested", may_reopen=True))
