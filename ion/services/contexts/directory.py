"""The tags as they are known in memory: what is in each, in natural order."""

from __future__ import annotations

from collections.abc import Iterator

from ion.services.contexts.model import BlobEntry, TagStat
from ion.services.contexts.natural_sort import natural_key
from ion.services.contexts.rows import Blob, Part


class Held:
    """A blob that was found, and where its bytes are."""

    __slots__ = ("blob", "entry", "part")

    def __init__(self, tag: str, part: Part, blob: Blob) -> None:
        self.part = part
        self.blob = blob
        self.entry = BlobEntry(
            tag, blob.name, blob.size, blob.crc, part.mtime, part.origin, part.media, blob.offset
        )


class Tag:
    """A tag and what is in it.

    :ivar parts: by their keys.
    """

    __slots__ = ("_blobs", "name", "parts")

    def __init__(self, name: str, parts: dict[str, Part]) -> None:
        self.name = name
        self.parts = parts
        self._blobs: dict[str, Held] | None = None

    @property
    def blobs(self) -> dict[str, Held]:
        """Its blobs by name, in natural order."""
        if self._blobs is None:
            held = [
                Held(self.name, part, blob) for part in self.parts.values() for blob in part.blobs
            ]
            held.sort(key=lambda each: natural_key(each.blob.name))
            self._blobs = {each.blob.name: each for each in held}
        return self._blobs

    @property
    def size(self) -> int:
        """Bytes of all contents."""
        return sum(part.size for part in self.parts.values())

    def stat(self) -> TagStat:
        """Return what is known of it."""
        times = [part.at for part in self.parts.values()]
        count = sum(len(part.blobs) for part in self.parts.values())
        return TagStat(self.name, count, self.size, min(times), max(times), len(times))

    def with_parts(self, changed: dict[str, Part | None]) -> Tag:
        """Return it as it is after a change; None: that part is gone."""
        parts = {**self.parts, **changed}
        return Tag(self.name, {key: part for key, part in parts.items() if part is not None})


class Directory:
    """All tags.

    :ivar id: of the last change that it knows; None: it knows nothing.
    :ivar revision: of the record of changes, as it was then.
    """

    def __init__(self) -> None:
        self.id: str | None = None
        self.revision = -1
        self.tags: dict[str, Tag] = {}
        self._names: list[str] | None = None

    def names(self) -> list[str]:
        """Return the names of all tags, in order."""
        if self._names is None:
            self._names = sorted(self.tags)
        return self._names

    def all(self) -> Iterator[Tag]:
        """Iterate the tags in the order of their names."""
        return map(self.tags.__getitem__, self.names())

    def set(self, tag: Tag) -> None:
        """Put a tag as it is now; one without parts is none."""
        if tag.parts:
            if tag.name not in self.tags:
                self._names = None
            self.tags[tag.name] = tag
        elif self.tags.pop(tag.name, None) is not None:
            self._names = None

    def clear(self) -> None:
        """Forget all."""
        self.tags = {}
        self._names = None
        self.id = None
        self.revision = -1
