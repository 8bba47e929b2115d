"""xoscar: one actor pool in this OS process, awaited calls; nothing is encoded within a pool."""

from __future__ import annotations

from typing import Any

import xoscar

from benchmarks import load, role
from benchmarks.payload import record


class Echo(xoscar.Actor):
    """Gives back what it is given."""

    async def echo(self, content: Any) -> Any:
        return content


async def main(seconds: float) -> Any:
    content = record()
    pool = await xoscar.create_actor_pool("127.0.0.1", n_process=0)
    async with pool:
        actor = await xoscar.create_actor(Echo, address=pool.external_address, uid="echo")
        assert await actor.echo(content) == content
        return await load.measure_all(lambda: actor.echo(content), seconds)


if __name__ == "__main__":
    o = role.options()
    role.run(main(o.seconds), o.loop)
