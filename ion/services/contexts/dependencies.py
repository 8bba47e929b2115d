"""The order of a bundle: each item after those that it depends on, else as they were given."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from graphlib import CycleError, TopologicalSorter

import msgspec

from ion.messaging.codec import encode
from ion.services.contexts.codes import BAD_ORDER, ItemError
from ion.services.contexts.model import MAX_ITEMS, Item

PORTION = 512 * 1024  # bytes of items in one message


def named_by(item: Item) -> set[str]:
    """Return the names that an item can be depended on by: its tag, its destination, its source."""
    return {item.dst, item.dst.partition("::")[2], item.src} - {""}


def ordered(items: Sequence[Item], stored: Collection[str] = ()) -> list[int]:
    """Return the numbers of the items in the order in which they are to be assimilated.

    :param stored: tags that are there already: who depends on one need not wait.
    :raises ItemError: a name is of no item and of no tag, or items wait for each other.
    """
    if not any(item.depends_on for item in items):
        return list(range(len(items)))
    named: dict[str, list[int]] = {}
    for number, item in enumerate(items):
        for name in named_by(item):
            named.setdefault(name, []).append(number)
    before = [_before(number, item, named, stored) for number, item in enumerate(items)]
    return _sorted(before)


def _before(
    number: int, item: Item, named: dict[str, list[int]], stored: Collection[str]
) -> list[int]:
    if not item.depends_on:
        return []
    own = named.get(item.depends_on, [])
    others = [each for each in own if each != number]
    if others or item.depends_on in stored:
        return others
    kind = "itself" if own else "neither an item of the bundle nor a tag"
    message = f"item {number} depends on {item.depends_on!r}: that is {kind}"
    raise ItemError(BAD_ORDER, message)


def _sorted(before: list[list[int]]) -> list[int]:
    sorter = TopologicalSorter(dict(enumerate(before)))
    try:
        sorter.prepare()
    except CycleError as error:
        cycle = " after ".join(str(number) for number in reversed(error.args[1]))
        message = f"items wait for each other: {cycle}"
        raise ItemError(BAD_ORDER, message) from None
    order: list[int] = []
    ready: list[int] = []
    while sorter.is_active():
        ready = sorted([*ready, *sorter.get_ready()])
        order.append(ready.pop(0))
        sorter.done(order[-1])
    return order


def portioned(items: Sequence[Item]) -> list[list[tuple[int, Item]]]:
    """Return items with their numbers in portions that a message can hold, in their order.

    Who depends on another item of the list does not say so any more, where there are several.

    :raises CodecError: no message can hold one of them.
    """
    sizes = [len(encode(item)[0]) for item in items]
    if sum(sizes) <= PORTION:
        return [list(enumerate(items))]
    names = {name for item in items for name in named_by(item)}
    portions: list[list[tuple[int, Item]]] = [[]]
    size = 0
    for number in ordered(items, {item.depends_on for item in items} - names):
        item = items[number]
        size += sizes[number]
        if portions[-1] and (size > PORTION or len(portions[-1]) == MAX_ITEMS):
            portions.append([])
            size = sizes[number]
        if item.depends_on in names:
            item = msgspec.structs.replace(item, depends_on="")
        portions[-1].append((number, item))
    return portions
