"""Commits: what an object was, when, by whom, and what it came from."""

from __future__ import annotations

import math

import msgspec

from ion.base.errors import Damaged
from ion.objects.element import Kind, Link, decoded, element

MAX_COMMENT = 4096  # characters


class Commit(msgspec.Struct, frozen=True):
    """A version of an object.

    :ivar root: frozen value.
    :ivar parents: the commits that it comes from: none for a first one, two or more for a merge.
    :ivar time: seconds since 1970.
    :ivar branch: that it was made on.
    """

    root: object
    parents: tuple[bytes, ...] = ()
    author: str = ""
    time: float = 0.0
    comment: str = ""
    branch: str = ""


def is_time(when: object) -> bool:
    """Return whether that can be the time of a commit: one that has an order."""
    return type(when) in (int, float) and math.isfinite(when)  # type: ignore[arg-type]


def as_element(commit: Commit) -> bytes:
    """Return a commit's element."""
    body = {
        "root": commit.root,
        "parents": [Link(parent) for parent in commit.parents],
        "author": commit.author,
        "time": commit.time,
        "comment": commit.comment,
        "branch": commit.branch,
    }
    return element(Kind.COMMIT, body)


def commit_of(data: bytes) -> Commit:
    """Return the commit that an element is.

    :raises Damaged: it is none.
    """
    kind, body = decoded(data)
    try:
        if kind is not Kind.COMMIT:
            raise TypeError
        parents = tuple(link.hash for link in body["parents"])
        texts = (body["author"], body["comment"], body["branch"])
        when = body["time"]
        if not isinstance(body["root"], dict | Link):
            raise TypeError
        if not all(type(text) is str for text in texts) or not is_time(when):
            raise TypeError
        return Commit(body["root"], parents, texts[0], float(when), texts[1], texts[2])
    except (TypeError, KeyError, AttributeError) as error:
        message = "an element that should be a commit is none"
        raise Damaged(message) from error
