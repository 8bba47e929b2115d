"""The service ``streams``: knows the streams of the system, keeps them, and plays them again.

Instances share what is registered and kept, in their datastore; a stream is kept by one of them at
a time, by whichever the broker gives its queue to.

Its app's ``config.streams`` may name streams that are to be there::

    streams: {ctd: {persist: {seconds: 86400}}}
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import msgspec

from ion.base.errors import ConfigurationError, Conflict, InvalidRequest, NotFound
from ion.process.granules.consumer_lease import LEASE, Place
from ion.process.granules.definition import StreamDefinition
from ion.process.service import Service
from ion.process.storeerrors import answering
from ion.services.streams.checkpoints import Checkpoints
from ion.services.streams.model import Described, Keep, Kept, Stream
from ion.services.streams.recorders import Recorders
from ion.services.streams.registry import Registry


class Declared(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A stream in the configuration.

    :ivar persist: whether it is kept, or how much of it.
    """

    definition: StreamDefinition | None = None
    persist: Keep | bool = False
    description: str = ""


class StreamsService(Service, name="streams", version="0.1.0"):
    """Knows the streams of the system, keeps them, and plays them again."""

    registry: Registry
    checkpoints: Checkpoints
    recorders: Recorders

    async def on_init(self) -> None:
        """Open the registry, and declare what the configuration says.

        :raises ConfigurationError: that is wrong; the message says what.
        """
        datastore = await self.datastore()
        self.registry = await Registry.open(datastore)
        self.checkpoints = await Checkpoints.open(datastore)
        self.recorders = Recorders(self, self.registry)
        try:
            streams = msgspec.convert(self.app_config.get("streams") or {}, dict[str, Declared])
            for name, declared in streams.items():
                await self._declare(name, declared)
        except (msgspec.ValidationError, InvalidRequest, Conflict) as error:
            message = f"streams of the app's config: {error}"
            raise ConfigurationError(message) from error

    async def _declare(self, name: str, declared: Declared) -> None:
        def changed(stream: Stream) -> Stream:
            stream = stream.with_definition(declared.definition)
            keep = stream.keep
            if declared.persist is not False:
                keep = declared.persist if isinstance(declared.persist, Keep) else Keep()
                keep.check()
            text = declared.description or stream.description
            return msgspec.structs.replace(stream, keep=keep, description=text)

        await self.registry.change(name, changed, make=True)

    async def on_activate(self) -> None:
        """Keep what is to be kept; end what was being deleted."""
        await self.recorders.open()

    async def on_terminate(self) -> None:
        """Leave the queues to others."""
        if "recorders" in vars(self):
            await self.recorders.close()

    # the registry

    async def op_register(
        self,
        stream: str,
        definition: StreamDefinition | None = None,
        description: str = "",
    ) -> Stream:
        """Have a stream known, with a definition as its newest; return it.

        409 Conflict where the definition breaks readers of the one before; ``details.breaks`` says
        how. The same once more changes nothing.
        """
        with answering():

            def changed(known: Stream) -> Stream:
                known = known.with_definition(definition)
                text = description or known.description
                return msgspec.structs.replace(known, description=text)

            return await self.registry.change(stream, changed, make=True)

    async def op_streams(
        self, prefix: str = "", after: str | None = None, limit: int = 100
    ) -> list[Stream]:
        """Return streams whose names begin with ``prefix``, in order; ``after``: those behind."""
        with answering():
            return await self.registry.page(prefix, after, limit)

    async def op_describe(self, stream: str) -> Described:
        """Return a stream with what is kept of it; 404 where there is none."""
        with answering():
            known = await self.registry.get(stream)
            end = (await self.recorders.log(stream)).end
            is_at_it, waiting = await self.recorders.is_at_it(stream)
            first = end.first if end.last >= end.first else 0
            return Described(known, first, end.last, end.high, end.bytes, waiting, is_at_it)

    async def op_delete(self, stream: str) -> bool:
        """Delete a stream: what is kept of it, its queue, its definitions; tell its publishers.

        Return whether there was one. Subscriptions of others stay theirs.
        """
        with answering():
            try:
                await self.registry.change(stream, _ending)
            except NotFound:
                return False
            await self.recorders.tell(stream)
            await self.recorders.end(stream)
            await self.checkpoints.forget_all(stream)
            return True

    async def op_persist(
        self,
        stream: str,
        granules: int | None = None,
        seconds: float | None = None,
        create: bool = False,
    ) -> Stream:
        """Keep a stream from now on: all of it, or the last ``granules``, or ``seconds``.

        404 where it is not registered; with ``create``, it is then.
        """
        with answering():
            keep = Keep(granules, seconds)
            keep.check()
            known = await self.registry.change(stream, _keeping(keep), make=create)
            await self.recorders.changed(stream)
            await self.recorders.tell(stream)
            return known

    async def op_unpersist(self, stream: str, drop: bool = False) -> Stream:
        """Keep a stream no more; ``drop``: what was kept goes, too. What waits to be kept goes."""
        with answering():
            known = await self.registry.change(stream, _keeping(None))
            await self.recorders.tell(stream)
            await self.recorders.stop(stream, drop=drop)
            return known

    async def op_changed(self, stream: str) -> None:
        """Hear from another instance that a stream was changed."""
        await self.recorders.changed(stream)

    # reading

    async def op_read(
        self,
        stream: str,
        after: int = 0,
        since: float | None = None,
        until: float | None = None,
        last: int | None = None,
        limit: int | None = None,
        follow: bool = False,
    ) -> AsyncIterator[Kept]:
        """Give what is kept of a stream, in its order, as a stream of items.

        Behind the offset ``after``; published from ``since`` on, and before ``until`` (seconds
        since 1970); the ``last`` so many; ``limit``: at most. With ``follow`` it does not end
        there, but goes on with what is published; an item without a granule is a sign of life.
        """
        with answering():
            _check_counts(after=after, last=last, limit=limit)
            known = await self.registry.get(stream)
            kept = await self.recorders.log(stream)
            if known.keep is None and not kept.end.last:
                message = f"stream {stream!r} is not persisted: nothing is kept of it"
                raise InvalidRequest(message, details={"stream": stream})
            if since is not None:
                after = max(after, await kept.first_since(since) - 1)
            if last is not None:
                after = max(after, kept.end.last - last)
            given = 0
            async for item in self.recorders.items(stream, kept, after, follow=follow):
                if item.granule is not None and not _is_between(item.granule, since, until):
                    continue
                if limit is not None and given >= limit:
                    return
                given += item.granule is not None
                yield item

    # those who hear it again by a name

    async def op_claim(self, stream: str, name: str, owner: str, lease: float = LEASE) -> Place:
        """Let one of a name hear a stream, unless it is another one's turn; 404: there is none."""
        with answering():
            await self.registry.get(stream)
            return await self.checkpoints.claim(stream, name, owner, lease)

    async def op_keep_place(
        self,
        stream: str,
        name: str,
        owner: str,
        after: int | None = None,
        lease: float = LEASE,
        ends: bool = False,
    ) -> bool:
        """Note how far one of a name has come; return whether it is still its turn.

        ``ends``: it is the next one's then.
        """
        with answering():
            return await self.checkpoints.keep(stream, name, owner, after, lease, ends=ends)

    async def op_forget_place(self, stream: str, name: str) -> None:
        """Let whoever is the next of a name begin anew."""
        with answering():
            await self.checkpoints.forget(stream, name)


def _keeping(keep: Keep | None) -> Callable[[Stream], Stream]:
    return lambda stream: msgspec.structs.replace(stream, keep=keep)


def _ending(stream: Stream) -> Stream:
    return msgspec.structs.replace(stream, ends=True)


def _check_counts(**counts: int | None) -> None:
    for name, count in counts.items():
        if count is not None and count < 0:
            message = f"{name}: 0 or more, not {count}"
            raise InvalidRequest(message)


_time = msgspec.msgpack.Decoder(msgspec.defstruct("Timed", [("time", float)])).decode


def _is_between(body: bytes, since: float | None, until: float | None) -> bool:
    if since is None and until is None:
        return True
    when = _time(body).time  # type: ignore[attr-defined]
    return (since is None or when >= since) and (until is None or when < until)
