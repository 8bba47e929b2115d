"""Associations: a subject, a predicate and an object, such as *station-7 has_a calibration-3*.

Subject and object are references to repositories: to a branch as it is whenever one looks, or to
one commit. An association is an element, known by its hash, and is kept where it is found by any
part of it. It is there or not; it is not changed.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import msgspec

from ion.base.errors import Damaged, InvalidRequest
from ion.objects.element import HASH, Kind, Reference, decoded, element, hash_of, verified
from ion.objects.names import checked_branch, checked_repository
from ion.stores.query import A, And, Predicate, Query
from ion.stores.store import Datastore, IndexStore, Indices, Page

INDICES: Indices = {
    "subject": "str",
    "subject_branch": "str",
    "subject_commit": "str",
    "predicate": "str",
    "object": "str",
    "object_branch": "str",
    "object_commit": "str",
}
PAGE = 100
_PREDICATE = re.compile(r"[A-Za-z][A-Za-z0-9_.:-]{0,99}")
_COMMIT = re.compile(rf"[0-9a-f]{{{2 * HASH}}}")


class Association(msgspec.Struct, frozen=True):
    """What is said of two objects.

    :ivar predicate: a word: letters, digits, ``_ . : -``.
    """

    subject: Reference
    predicate: str
    object: Reference

    @property
    def hash(self) -> str:
        """Its name, in hexadecimal."""
        return hash_of(_element(self)).hex()


class Associations:
    """The associations of a datastore; made by :meth:`open`."""

    def __init__(self, store: IndexStore) -> None:
        self._store = store

    @classmethod
    async def open(cls, datastore: Datastore, name: str = "objects") -> Associations:
        """Open them; made where there are none yet.

        :param name: as for :meth:`ion.objects.kept.KeptPeer.open`.
        """
        return cls(await datastore.index_store(f"{name}_associations", INDICES))

    async def add(
        self, subject: Reference | str, predicate: str, object: Reference | str
    ) -> Association:
        """Keep an association; no error where it is there already.

        :param subject: a repository's name means its branch ``main``.
        :raises InvalidRequest: a part is none.
        """
        made = Association(_reference(subject), checked_predicate(predicate), _reference(object))
        await self._store.put(made.hash, _element(made), index=_index(made))
        return made

    async def remove(self, association: Association) -> bool:
        """Remove an association; return whether it was there."""
        return await self._store.remove(association.hash)

    async def has(self, association: Association) -> bool:
        """Return whether it is there."""
        return await self._store.has(association.hash)

    async def find(
        self,
        subject: Reference | str | None = None,
        predicate: str | None = None,
        object: Reference | str | None = None,
        *,
        limit: int = PAGE,
        cursor: str | None = None,
    ) -> Page[Association]:
        """Return the associations that have all parts that are given.

        :param subject: a reference: just that one; a repository's name: all references to it.
        :param object: likewise.
        :param cursor: of the page before.
        :raises InvalidRequest: a part is none, or the cursor is of another search.
        :raises Damaged: what is kept is no association.
        """
        terms: list[Predicate] = [*_matching("subject", subject), *_matching("object", object)]
        if predicate is not None:
            terms.append(A("predicate") == checked_predicate(predicate))
        page = await self._store.query(Query(And(tuple(terms)), limit=limit, cursor=cursor))
        return Page([_association(entry.key, entry.value) for entry in page.items], page.cursor)

    async def each(
        self,
        subject: Reference | str | None = None,
        predicate: str | None = None,
        object: Reference | str | None = None,
    ) -> AsyncIterator[Association]:
        """Iterate all that :meth:`find` finds."""
        cursor: str | None = None
        while True:
            page = await self.find(subject, predicate, object, cursor=cursor)
            for found in page.items:
                yield found
            cursor = page.cursor
            if cursor is None:
                return


def checked_predicate(word: str) -> str:
    """Return a predicate.

    :raises InvalidRequest: it is none.
    """
    if not isinstance(word, str) or not _PREDICATE.fullmatch(word):
        message = f"{word!r} is no predicate: a letter, then letters, digits, _ . : -, at most 100"
        raise InvalidRequest(message)
    return word


def checked_reference(reference: Reference) -> Reference:
    """Return a reference.

    :raises InvalidRequest: its repository, branch or commit is none.
    """
    checked_repository(reference.repository)
    checked_branch(reference.branch)
    if reference.commit and not _COMMIT.fullmatch(reference.commit):
        message = f"{reference.commit!r} is no hash of a commit: give {2 * HASH} hexadecimal digits"
        raise InvalidRequest(message)
    return reference


def _reference(given: Reference | str) -> Reference:
    return checked_reference(given if isinstance(given, Reference) else Reference(given))


def _matching(part: str, given: Reference | str | None) -> list[Predicate]:
    if given is None:
        return []
    if not isinstance(given, Reference):
        return [A(part) == checked_repository(given)]
    checked_reference(given)
    return [
        A(part) == given.repository,
        A(f"{part}_branch") == given.branch,
        A(f"{part}_commit") == given.commit,
    ]


def _index(association: Association) -> dict[str, str]:
    found = {"predicate": association.predicate}
    for part, reference in (("subject", association.subject), ("object", association.object)):
        found[part] = reference.repository
        found[f"{part}_branch"] = reference.branch
        found[f"{part}_commit"] = reference.commit
    return found


def _element(association: Association) -> bytes:
    parts = [association.subject, association.predicate, association.object]
    return element(Kind.VALUE, parts)


def _association(key: str, data: bytes) -> Association:
    try:
        _, parts = decoded(verified(bytes.fromhex(key), data))
        found = Association(*parts)
        checked_reference(found.subject)
        checked_reference(found.object)
        checked_predicate(found.predicate)
    except (TypeError, ValueError, AttributeError, InvalidRequest) as error:
        message = f"what is kept as {key!r} is no association"
        raise Damaged(message) from error
    return found
