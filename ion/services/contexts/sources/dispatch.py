"""Which source an item is of, and which tag it goes to."""

from __future__ import annotations

from ion.services.contexts import codes
from ion.services.contexts.codes import ItemError
from ion.services.contexts.draft import Draft
from ion.services.contexts.model import MAX_TAG, Item
from ion.services.contexts.names import fault_of
from ion.services.contexts.roots import Roots
from ion.services.contexts.sources import file, text

HDF5 = "hdf5"
_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def drafts_of(item: Item, roots: Roots) -> list[Draft]:
    """Return what is to be stored of an item; it looks at the source, and reads no content.

    It blocks: call it in a worker thread.

    :raises ItemError: it cannot be assimilated.
    """
    tag = tag_of(item)
    protocol = protocol_of(item.src)
    where = item.src.partition("::")[2]
    if protocol == "file":
        if item.format == HDF5 or (item.format == "" and _is_hdf5(where, roots)):
            return _hdf5(item, tag, where, roots)
        return file.drafts(item, tag, where, roots)
    if protocol == "string":
        return text.drafts(item, tag, where)
    if protocol == HDF5:
        return _hdf5(item, tag, where, roots)
    from ion.services.contexts.sources import url  # few need it

    return url.drafts(item, tag, protocol, roots)


def protocol_of(url: str) -> str:
    """Return what is in front of ``://``, or else of ``::``; "" where there is neither."""
    for mark in ("://", "::"):
        protocol, found, _ = url.partition(mark)
        if found:
            return protocol
    return ""


def tag_of(item: Item) -> str:
    """Return the tag that an item goes to.

    :raises ItemError: its destination is none.
    """
    if not item.dst.startswith("iowarp::"):
        message = f"the destination {item.dst[:200]!r} is not iowarp::<tag>"
        raise ItemError(codes.BAD_DESTINATION, message)
    tag = item.dst.partition("::")[2]
    if not tag:
        raise ItemError(codes.BAD_PROTOCOL, f"the destination {item.dst!r} names no tag")
    fault = fault_of(tag, MAX_TAG)
    if fault:
        raise ItemError(codes.NO_TAG, f"tag {tag[:50]!r} {fault}")
    return tag


def _is_hdf5(where: str, roots: Roots) -> bool:
    """Return whether a file begins as HDF5 does; what cannot be read is for the reader to say."""
    try:
        with file.opened(roots.checked(where)) as opened:
            return opened.read(len(_SIGNATURE)) == _SIGNATURE
    except (ItemError, OSError):
        return False


def _hdf5(item: Item, tag: str, where: str, roots: Roots) -> list[Draft]:
    from ion.services.contexts.sources import hdf5  # it loads h5py

    return hdf5.drafts(item, tag, where, roots)
