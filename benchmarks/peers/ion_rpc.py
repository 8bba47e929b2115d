"""ION rpc over the broker, as its user gets it: every default on; ``--variant plain``: lean off."""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks import load, role
from benchmarks.payload import record
from ion import Container, Service, ServiceClient


class Echo(Service, name="echo", version="1.0.0"):
    """Gives back what it is given."""

    async def op_echo(self, content: dict[str, Any]) -> dict[str, Any]:
        return content


def container(o: argparse.Namespace) -> Container:
    """Return a container on the broker, or on the memory bus where no URL is given."""
    config = {"logging": {"level": "WARNING"}, "broker": {"lean": o.variant != "plain"}}
    return Container(o.url or "memory://", sysname=o.system, config=config)


async def server(o: argparse.Namespace) -> None:
    async with container(o) as host:
        await host.spawn(Echo)
        role.say_ready()
        await role.until_stopped()


async def client(o: argparse.Namespace) -> Any:
    async with container(o) as host:
        return await _calls(host, o.seconds)


async def local(o: argparse.Namespace) -> Any:
    async with container(o) as host:
        await host.spawn(Echo)
        return await _calls(host, o.seconds)


async def _calls(host: Container, seconds: float) -> Any:
    content, echo = record(), ServiceClient("echo", host)
    assert await echo.echo(content=content) == content
    return await load.measure_all(lambda: echo.echo(content=content), seconds)


if __name__ == "__main__":
    options = role.options()
    main = {"server": server, "client": client, "local": local}[options.role]
    role.run(main(options), options.loop)
