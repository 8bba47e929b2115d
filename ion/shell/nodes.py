"""Which containers a word on the command line means: an id, the beginning of one, or all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ion.base.errors import ServiceNotFound
from ion.shell import exits
from ion.shell.operatewords import ALL

_SHOWN = 20


def nodes_named(word: str, ids: Iterable[str]) -> list[str]:
    """Return those of ``ids`` that ``word`` means, in order.

    :raises ServiceNotFound: none, or more than one where one is meant; the message lists them.
    """
    there = sorted(ids)
    if word == ALL:
        return there
    return [node_named(word, there)]


def node_named(word: str, ids: Iterable[str]) -> str:
    """Return the one of ``ids`` that ``word`` means: the id itself, or one that begins so.

    :raises ServiceNotFound: none does, or several do; the message lists them.
    """
    there = sorted(ids)
    if word in there:
        return word
    found = [each for each in there if word and each.startswith(word)]
    if len(found) == 1:
        return found[0]
    if found:
        message = f"{word!r} is the beginning of {len(found)} containers: {_listed(found)}"
    else:
        message = f"there is no container {word!r}; there are {_listed(there)}"
    raise ServiceNotFound(message, type="ContainerNotFound", details={"containers": found or there})


def need_some(ids: Sequence[str], sysname: str, within: float) -> None:
    """Hold that any container has answered.

    :raises NobodyAnswered: none has.
    """
    if not ids:
        message = (
            f"no container of system {sysname!r} answered within {within:g} s: "
            "is one running on this broker? (-s NAME chooses the system)"
        )
        raise exits.NobodyAnswered(message)


def _listed(ids: Sequence[str]) -> str:
    shown = ", ".join(ids[:_SHOWN])
    more = len(ids) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown or "none"
