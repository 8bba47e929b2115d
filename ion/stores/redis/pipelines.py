"""The pipelines of a datastore: small calls do not wait for large ones."""

from __future__ import annotations

import asyncio
from typing import Protocol

from ion.stores.errors import closed
from ion.stores.redis.cluster import Nodes, SlotLink
from ion.stores.redis.layout import Space
from ion.stores.redis.link import Session, SingleLink, forget
from ion.stores.redis.pipeline import Pipeline

SIDE_LANES = 3


class Pipelines(Protocol):
    """Where the calls of a store go."""

    def main(self, space: Space) -> Pipeline:
        """Return the pipeline for small calls."""

    def side(self, space: Space) -> Pipeline:
        """Return a pipeline for what is large, or takes its time."""

    async def close(self) -> None:
        """Finish what was begun, and disconnect. Never raises."""


class SinglePipelines:
    """Four connections to one server."""

    def __init__(self, url: str, where: str, timeout: float) -> None:
        given_up: set[Session] = set()
        self._given_up = given_up
        self._url = url
        self._where = where
        self._main = Pipeline(SingleLink(url, given_up), where, timeout)
        self._side = [
            Pipeline(SingleLink(url, given_up), where, timeout) for _ in range(SIDE_LANES)
        ]

    def main(self, space: Space) -> Pipeline:
        """See :meth:`Pipelines.main`."""
        return self._main

    def side(self, space: Space) -> Pipeline:
        """See :meth:`Pipelines.side`."""
        return min(self._side, key=_count)

    async def close(self) -> None:
        """See :meth:`Pipelines.close`."""
        await asyncio.gather(*(pipeline.close() for pipeline in (self._main, *self._side)))
        if self._given_up:
            await forget([SingleLink(self._url, self._given_up)], self._where)


class ClusterPipelines:
    """Two pipelines for each store: it is on one node, and none waits for the nodes of others."""

    def __init__(self, url: str, where: str, timeout: float) -> None:
        self._nodes = Nodes(url)
        self._where = where
        self._timeout = timeout
        self._pipelines: dict[tuple[str, bool], Pipeline] = {}
        self._is_closed = False

    def main(self, space: Space) -> Pipeline:
        """See :meth:`Pipelines.main`."""
        return self._pipeline(space, is_main=True)

    def side(self, space: Space) -> Pipeline:
        """See :meth:`Pipelines.side`."""
        return self._pipeline(space, is_main=False)

    def _pipeline(self, space: Space, *, is_main: bool) -> Pipeline:
        pipeline = self._pipelines.get((space.name, is_main))
        if pipeline is None:
            if self._is_closed:
                raise closed(self._where)
            pipeline = Pipeline(SlotLink(self._nodes), self._where, self._timeout)
            self._pipelines[space.name, is_main] = pipeline
        return pipeline

    async def close(self) -> None:
        """See :meth:`Pipelines.close`."""
        self._is_closed = True
        await asyncio.gather(*(pipeline.close() for pipeline in self._pipelines.values()))
        links = self._nodes.links_to_forget()
        if links:
            await forget(links, self._where)


def _count(pipeline: Pipeline) -> int:
    return pipeline.count
