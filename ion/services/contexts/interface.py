"""The synchronous interface of contexts, as programs written for IOWarp know it.

Nothing is raised but TypeError, for arguments of another type: what fails is a number or an empty
list, and why is logged. Who wants to know more uses
:class:`~ion.services.contexts.client.ContextsClient`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Protocol, TypeVar, cast

from ion.base.errors import IonError
from ion.process import embedding
from ion.process.embedding import Party
from ion.services.contexts import codes
from ion.services.contexts.client import MAX_SIZE, ContextsClient
from ion.services.contexts.context import AssimilationCtx, is_text
from ion.services.contexts.model import BlobEntry, Found, Packed

log = logging.getLogger(__name__)
T = TypeVar("T")

APP: Final = "contexts"
TIMEOUT: Final = 60.0  # seconds without an answer
LONG: Final = 24 * 3600.0  # seconds that a bundle, or a retrieval, may take
MOST: Final = 2**64 - 1


class _Near(Protocol):
    """The service, where it is in this OS process."""

    async def pack(
        self, tag_re: str, blob_re: str, max_results: int = 1024, max_size: int | None = None
    ) -> Packed:
        """Return blobs packed."""

    async def op_query(
        self, tag_re: str, blob_re: str, max_results: int, after: tuple[str, str] | None
    ) -> Found:
        """Return a page of blobs."""


class ContextInterface:
    """Assimilates, finds, retrieves and destroys contexts.

    The first one of an OS process starts ION: a container with the contexts service where no broker
    is configured (``ION_BROKER``), else a connection to the system there. It may be used by several
    threads, and from where an event loop runs, which waits meanwhile.
    """

    def __init__(self) -> None:
        self._done(lambda _: None, None)

    def context_bundle(self, bundle: Sequence[AssimilationCtx]) -> int:
        """Assimilate items one after another, until one fails.

        :returns: 0, or the code of the first item that failed: see
            :mod:`ion.services.contexts.codes`; 1 where nothing could be tried.
        :raises TypeError: ``bundle`` is no list of :class:`AssimilationCtx`.
        """
        given = _list_of(AssimilationCtx, bundle, "bundle")
        if not given:
            return codes.DONE
        return self._done(self._bundle, codes.FAILED, given)

    def context_query(self, tag_re: str, blob_re: str, max_results: int = 0) -> list[str]:
        """Return the names of blobs whose tag and name match whole, by tag and in natural order.

        :param max_results: 0: any number.
        :returns: empty, too, where a pattern is none.
        :raises TypeError: an argument is of another type, or negative.
        """
        _check_patterns(tag_re, blob_re)
        _check_count("max_results", max_results)
        return self._done(self._query, [], tag_re, blob_re, max_results)

    def context_retrieve(
        self,
        tag_re: str,
        blob_re: str,
        max_results: int = 1024,
        max_context_size: int = MAX_SIZE,
        batch_size: int = 32,
    ) -> list[bytes]:
        """Return the bytes of the blobs that match, one after another, in one ``bytes``.

        :param max_results: 0: any number.
        :param max_context_size: bytes; it ends before the first blob that does not fit.
        :param batch_size: is taken, and means nothing here.
        :returns: one item, or none where nothing is found, or something is wrong.
        :raises TypeError: an argument is of another type, or negative.
        """
        _check_patterns(tag_re, blob_re)
        _check_count("max_results", max_results)
        _check_count("max_context_size", max_context_size)
        _check_count("batch_size", batch_size)
        return self._done(self._retrieve, [], tag_re, blob_re, max_results, max_context_size)

    def context_destroy(self, context_names: Sequence[str]) -> int:
        """Destroy tags by their names, with all that is in them.

        :returns: 0, or 1 where one was not there, or could not be destroyed; the others are.
        :raises TypeError: ``context_names`` is no list of texts.
        """
        names = _list_of(str, context_names, "context_names")
        for name in names:
            _check_text("context_names", name)
        if not names:
            return codes.DONE
        return self._done(self._destroy, codes.FAILED, names)

    def context_splice(self, new_ctx: str, tag_re: str, blob_re: str) -> int:
        """Put the blobs that match into a tag, as they are; not done in IOWarp, which returns 1.

        :returns: 0, or 1 where nothing is found, or something is wrong.
        :raises TypeError: an argument is no text.
        """
        _check_patterns(tag_re, blob_re)
        _check_text("new_ctx", new_ctx)
        return self._done(self._splice, codes.FAILED, new_ctx, tag_re, blob_re)

    # with the party

    @staticmethod
    def _bundle(party: Party, given: list[AssimilationCtx]) -> int:
        items = [context.item() for context in given]
        result = party.call(_client(party).bundle(items, timeout=LONG))
        if result.code:
            log.warning("bundle: %s (code %d)", result.reason, result.code)
        return result.code

    @staticmethod
    def _query(party: Party, tag_re: str, blob_re: str, most: int) -> list[str]:
        found = party.call(_finding(party, tag_re, blob_re, most), TIMEOUT)
        return [entry.name for entry in found]

    @staticmethod
    def _retrieve(party: Party, tag_re: str, blob_re: str, most: int, size: int) -> list[bytes]:
        packed = party.call(_packing(party, tag_re, blob_re, most, size), LONG)
        return [packed.data] if packed.data else []

    @staticmethod
    def _destroy(party: Party, names: list[str]) -> int:
        gone = party.call(_client(party).destroy(names))
        if gone.missing:
            log.warning("destroy: not there: %s", ", ".join(gone.missing))
        return gone.code

    @staticmethod
    def _splice(party: Party, new_ctx: str, tag_re: str, blob_re: str) -> int:
        spliced = party.call(_client(party).splice(new_ctx, tag_re, blob_re))
        return codes.DONE if spliced else codes.FAILED

    @staticmethod
    def _done(work: Callable[..., T], otherwise: T, *args: Any) -> T:
        """Return what ``work`` gives with the party; what fails is logged."""
        try:
            return work(embedding.party(APP), *args)
        except IonError as error:
            log.warning("contexts: %s", error)
            return otherwise


def _client(party: Party) -> ContextsClient:
    return ContextsClient(party.caller, timeout=TIMEOUT)


# Within this OS process, what only looks does without the bus, where bytes would be copied. The
# service gives the same on both ways.


def _finding(
    party: Party, tag_re: str, blob_re: str, most: int
) -> Coroutine[Any, Any, list[BlobEntry]]:
    near = _near(party)
    if near is not None:
        return _found(near, tag_re, blob_re, most)
    return _client(party).query(tag_re, blob_re, most)


async def _found(near: _Near, tag_re: str, blob_re: str, most: int) -> list[BlobEntry]:
    page = await near.op_query(tag_re, blob_re, most, None)
    items = page.items
    while page.after is not None and (not most or len(items) < most):
        page = await near.op_query(tag_re, blob_re, most and most - len(items), page.after)
        items += page.items
    return items


def _packing(
    party: Party, tag_re: str, blob_re: str, most: int, size: int
) -> Coroutine[Any, Any, Packed]:
    near = _near(party)
    if near is not None:
        return near.pack(tag_re, blob_re, most, size)
    return _client(party).retrieve(tag_re, blob_re, most, size)


def _near(party: Party) -> _Near | None:
    return cast("_Near | None", party.process(APP))


def _list_of(kind: type[T], given: Any, name: str) -> list[T]:
    if not isinstance(given, list | tuple) or not all(isinstance(one, kind) for one in given):
        message = f"{name} is a list of {kind.__name__}"
        raise TypeError(message)
    return list(given)


def _check_patterns(tag_re: Any, blob_re: Any) -> None:
    _check_text("tag_re", tag_re)
    _check_text("blob_re", blob_re)


def _check_text(name: str, value: Any) -> None:
    if not is_text(value):
        message = f"{name} is text that UTF-8 has, not {type(value).__name__} {value!a}"
        raise TypeError(message)


def _check_count(name: str, value: Any) -> None:
    if not isinstance(value, int) or not 0 <= value <= MOST:
        message = f"{name} is a number from 0 on, not {value!r}"
        raise TypeError(message)
