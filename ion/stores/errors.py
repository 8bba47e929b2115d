"""The errors that all engines raise the same way."""

from __future__ import annotations

from pathlib import Path

from ion.base.errors import Conflict, InvalidRequest, NotFound, Unavailable
from ion.stores.store import ABSENT


class StaleRead(Conflict):
    """A unit of work has read a key a second time, and somebody has written it in between: its
    end would fail. To those who are told, it is a Conflict.
    """

    def __init__(self, error: Conflict) -> None:
        super().__init__(error.message, type=Conflict.__name__, details=error.details)


def conflict(store: str, key: str, expected: int, found: int | None) -> Conflict:
    """Return the error of a write that expects another revision than is there.

    :param found: None: it is not known.
    """
    if expected == ABSENT:
        there = "there is a value already"
    elif found == ABSENT:
        there = "there is no value any more"
    else:
        there = "its value was replaced since it was read"
    details: dict[str, object] = {"store": store, "key": key, "expected": expected}
    if found is not None:
        details["revision"] = found
    return Conflict(f"{key[:80]!r} of store {store!r}: {there}", details=details)


def not_there(store: str, key: str) -> NotFound:
    """Return the error of a change to what is not there."""
    message = f"there is no {key[:80]!r} in store {store!r}"
    return NotFound(message, details={"store": store, "key": key})


def is_indexed(name: str) -> InvalidRequest:
    """Return the error of an index store that is opened as a plain one."""
    return InvalidRequest(f"{name!r} is an index store: open it with its attributes")


def not_opened(name: str) -> InvalidRequest:
    """Return the error of a change to a store that was not opened."""
    return InvalidRequest(f"store {name!r} is not open: open it with the datastore first")


def closed(where: str | Path) -> Unavailable:
    """Return the error of a call to a datastore that was not opened, or was closed meanwhile."""
    return Unavailable(f"the datastore {where} is not open (any more): open it first")
