"""A publisher of data sets on this machine, which answers as it is told."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from published import COUNTERFACT


@dataclass
class Reply:
    """What the publisher answers at one address."""

    content: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None  # what it claims; None for the truth
    first: int | None = None  # bytes after which it waits until told to go on


class Publisher(ThreadingHTTPServer):
    """Serves replies by path, and remembers what was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies: dict[str, Reply] = {}
        self.asked: list[str] = []
        self.go_on = threading.Event()

    def address(self, path: str, reply: Reply | None = None) -> str:
        if reply is not None:
            self.replies[path] = reply
        return f"http://127.0.0.1:{self.server_address[1]}{path}"


class Handler(BaseHTTPRequestHandler):
    """Answers one request as its publisher is told to."""

    server: Publisher

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        reply = self.server.replies.get(self.path, Reply(b"gone", 404))
        self.send_response(reply.status)
        length = len(reply.content) if reply.length is None else reply.length
        if length >= 0:
            self.send_header("Content-Length", str(length))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        first = len(reply.content) if reply.first is None else reply.first
        self.wfile.write(reply.content[:first])
        self.wfile.flush()
        if reply.content[first:]:
            self.server.go_on.wait(60)
            self.wfile.write(reply.content[first:])

    def log_message(self, format: str, *arguments: object) -> None:
        pass


#: A file of one CounterFact record.
FILE = json.dumps([COUNTERFACT]).encode()
