"""Nameko: a service with ``@rpc``, called with ``ClusterRpcClient`` and ``call_async`` (JSON)."""

from __future__ import annotations

import sys
from typing import Any

from benchmarks import role
from benchmarks.payload import record

if "server" in sys.argv:  # a Nameko service runs on eventlet; its client does not
    import eventlet

    eventlet.monkey_patch()

from nameko import config
from nameko.rpc import rpc
from nameko.standalone.rpc import ClusterRpcClient


class EchoService:
    """Gives back what it is given."""

    name = "nameko_echo"

    @rpc
    def echo(self, content: Any) -> Any:
        return content


def server(url: str) -> None:
    from nameko.containers import ServiceContainer

    config.setup({"AMQP_URI": url})
    container = ServiceContainer(EchoService)
    container.start()
    role.say_ready()
    container.wait()


def client(url: str, seconds: float) -> None:
    from benchmarks import load

    content = record()
    config.setup({"AMQP_URI": url})
    with ClusterRpcClient(timeout=role.PATIENCE) as cluster:
        method = cluster.nameko_echo.echo
        assert method(content) == content
        figures = load.measure_all_futures(
            lambda: method.call_async(content), lambda reply: reply.result(), seconds
        )
    role.report(figures)


if __name__ == "__main__":
    o = role.options()
    if o.role == "server":
        server(o.url)
    else:
        client(o.url, o.seconds)
