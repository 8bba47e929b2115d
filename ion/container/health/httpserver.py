"""The HTTP server that tells of health, from threads of its own.

So that it tells the truth while the event loop is held up. Contract: a request has five seconds,
whatever the client does; at most 16 are served at a time. Where all places are taken, who has not
sent its whole request for longest makes room; others are turned away. It only reads.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

import msgspec

from ion.base.errors import ConfigurationError, StartError
from ion.base.version import __version__
from ion.container.agent.reports import Health
from ion.observe.metrics import CONTENT_TYPE

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
JSON = "application/json"
MAX_SERVED = 16
WITHIN = 5.0  # seconds for a request, from its connection to its answer
_POLL = 0.2
_MAX_PORT = 65_535

Reporter = Callable[[], Health]
Writer = Callable[[Health], str]
Answer = tuple[HTTPStatus, str, bytes]


class HealthServer:
    """A server that is open; :meth:`open` makes one.

    :ivar url: where it is.
    """

    def __init__(self, server: _Server) -> None:
        self._server = server
        host, port = str(server.server_address[0]), server.server_address[1]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @classmethod
    async def open(cls, address: str, report: Reporter, metrics: Writer) -> HealthServer:
        """Listen.

        :param address: ``HOST:PORT``, or ``PORT`` of 127.0.0.1; port 0: any free one.
        :param report: called in other threads.
        :param metrics: writes a report, and more, for Prometheus; called in other threads.
        :raises ConfigurationError: it is no such address.
        :raises StartError: the port is taken, or the host is not of this machine.
        """
        where = checked_address(address)
        try:
            server = await asyncio.to_thread(_Server, where, report, metrics)
        except OSError as error:
            message = f"health.listen {address!r}: cannot listen there: {error.strerror or error}"
            raise StartError(message) from error
        thread = threading.Thread(
            target=server.serve_forever, args=(_POLL,), name="ion health", daemon=True
        )
        thread.start()
        door = cls(server)
        log.info("health is told at %s", door.url)
        return door

    async def close(self) -> None:
        """Listen no more. Never raises."""
        await asyncio.to_thread(self._server.end)


def checked_address(text: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT`` or ``PORT``.

    :raises ConfigurationError: it is no such text.
    """
    host, _, port = text.strip().rpartition(":")
    is_host = ":" not in host or (host.startswith("[") and host.endswith("]"))
    if not (is_host and port.isascii() and port.isdigit() and int(port) <= _MAX_PORT):
        message = (
            f"health.listen {text!r} is no address: write HOST:PORT, such as {LOOPBACK}:8080 or "
            "[::1]:8080, or a port alone"
        )
        raise ConfigurationError(message)
    return host.strip("[]") or LOOPBACK, int(port)


class _Server(socketserver.ThreadingTCPServer):
    """Listens, and gives each request a thread."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024  # many at once are cut off soon; a probe among them is not to wait

    def __init__(self, where: tuple[str, int], report: Reporter, metrics: Writer) -> None:
        self.address_family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
        self.report = report
        self.metrics = metrics
        self._begun: dict[socket.socket, float] = {}  # the oldest is the first
        self._whole: set[socket.socket] = set()  # their request is known
        super().__init__(where, _Handler)

    def end(self) -> None:
        """Stop serving, and close."""
        self.shutdown()
        self.server_close()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Tell whether there is a hand free, or can be had."""
        if len(self._begun) >= MAX_SERVED and not self._make_room():
            return False
        self._begun[request] = time.monotonic()
        return True

    def _make_room(self) -> bool:
        """Hear no more of the oldest that has not sent its whole request; False: all have."""
        for request in list(self._begun):
            if request not in self._whole:
                self._begun.pop(request, None)
                _cut(request, socket.SHUT_RD)  # what has come, and was not read yet, is answered
                return True
        return False

    def came_whole(self, request: socket.socket) -> None:
        """Note that a request is known: it keeps its place."""
        self._whole.add(request)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        self._begun.pop(request, None)
        self._whole.discard(request)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Cut off who takes too long; called a few times a second."""
        late = time.monotonic() - WITHIN
        for request, begun in list(self._begun.items()):
            if begun < late:
                self._begun.pop(request, None)
                _cut(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Note that a connection broke."""
        log.debug("a request for health from %s broke off: %s", client_address, sys.exception())


def _cut(request: socket.socket, how: int = socket.SHUT_RDWR) -> None:
    try:
        request.shutdown(how)  # its thread reads the end, and closes it
    except OSError:
        return


class _Handler(BaseHTTPRequestHandler):
    """Answers one request, and closes."""

    timeout = WITHIN
    server: _Server

    def do_GET(self) -> None:
        """Answer."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Answer without a body."""
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        self.server.came_whole(self.connection)
        status, kind, body = self._told()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def _told(self) -> Answer:
        path = self.path.partition("?")[0]
        say = _PAGES.get(path)
        if say is None:
            return _json(HTTPStatus.NOT_FOUND, {"paths": sorted(_PAGES)})
        try:
            report = self.server.report()
            if path == METRICS:
                return HTTPStatus.OK, CONTENT_TYPE, self.server.metrics(report).encode()
            return say(report)
        except Exception as error:
            log.exception("health could not be told")
            content = {"live": False, "ready": False, "error": f"{type(error).__name__}: {error}"}
            return _json(HTTPStatus.SERVICE_UNAVAILABLE, content)

    def version_string(self) -> str:
        """Return what the header ``Server`` says."""
        return f"ion/{__version__}"

    def log_message(self, format: str, *args: Any) -> None:
        """Note a request."""
        log.debug("%s: %s", self.address_string(), format % args)


def _live(report: Health) -> Answer:
    keys = ("container", "sysname", "state", "live", "blocked")
    return _json(_status(report.live), {key: getattr(report, key) for key in keys})


def _ready(report: Health) -> Answer:
    keys = ("container", "sysname", "state", "ready", "since", "blocked")
    content = {key: getattr(report, key) for key in keys}
    content["checks"] = [check for check in report.checks if not check.ok]
    return _json(_status(report.ready), content)


def _health(report: Health) -> Answer:
    return _json(_status(report.ready), report)


def _status(good: bool) -> HTTPStatus:
    return HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE


def _json(status: HTTPStatus, content: Any) -> Answer:
    return status, JSON, msgspec.json.encode(content)


METRICS = "/metrics"
_PAGES: dict[str, Callable[[Health], Answer]] = {
    "/live": _live,
    "/ready": _ready,
    "/health": _health,
    METRICS: _health,
}
