"""``string::<blob name>``: a text that comes with the item."""

from __future__ import annotations

from ion.services.contexts import codes
from ion.services.contexts.codes import ItemError
from ion.services.contexts.draft import CHUNK, Draft
from ion.services.contexts.model import MAX_NAME, Item
from ion.services.contexts.names import fault_of


def drafts(item: Item, tag: str, name: str) -> list[Draft]:
    """Return the text as one blob of that name, without a description.

    :raises ItemError: it has no name, or no text.
    """
    data = item.src_data
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogateescape")
    if not name:
        raise ItemError(codes.BAD_PROTOCOL, "a text needs the name of its blob: string::<name>")
    fault = fault_of(name, MAX_NAME)
    if fault:
        raise ItemError(codes.BAD_PROTOCOL, f"the name {name[:50]!r} of a text {fault}")
    if not isinstance(data, bytes) or not data:
        raise ItemError(codes.NOT_OPENED, f"the text {name!r} is empty: give src_data")
    return [by_hand(tag, name, data, f"string::{name}", "text")]


def by_hand(tag: str, name: str, data: bytes, origin: str = "", media: str = "") -> Draft:
    """Return what is to be stored of one blob that is put as it is."""
    return Draft(
        tag=tag,
        source=f"blob::{name}",
        origin=origin,
        base=name,
        media=media,
        pieces=lambda: iter([data[at : at + CHUNK] for at in range(0, len(data), CHUNK)]),
        size=len(data),
        name=name,
    )
