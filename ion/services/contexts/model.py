"""What the contexts service takes and gives."""

from __future__ import annotations

from typing import Any

import msgspec

from ion.services.contexts.codes import DONE

MAX_ITEMS = 10_000  # of one bundle
MAX_TAG = 512  # bytes in UTF-8
MAX_NAME = 400  # bytes in UTF-8


class Item(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Something to assimilate.

    :ivar src: ``<protocol>::<where>``: ``file::/path``, ``hdf5::/path``, ``string::<blob name>``,
        or the URL of anything else.
    :ivar dst: ``iowarp::<tag>``.
    :ivar format: ``binary``, or ``hdf5``; "": as the source looks.
    :ivar depends_on: a tag, destination or source of the same bundle, or a tag that is there.
    :ivar range_off: first byte; with it, or with ``range_size``, a part of the source is taken.
    :ivar range_size: bytes; 0: to the end.
    :ivar src_token: for sources that ask for one; it is neither kept nor shown.
    :ivar src_data: the text, or the bytes, of ``string::``.
    :ivar include: HDF5: globs of the paths to take; none: all.
    :ivar exclude: HDF5: globs of the paths not to take.
    """

    src: str
    dst: str
    format: str = ""
    depends_on: str = ""
    range_off: int = 0
    range_size: int = 0
    src_token: str = ""
    dst_token: str = ""
    src_data: Any = ""
    include: list[str] = []
    exclude: list[str] = []

    def __repr__(self) -> str:
        return f"Item(src={self.src!r}, dst={self.dst!r}, format={self.format!r})"


class ItemResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """What has become of an item.

    :ivar code: of :mod:`ion.services.contexts.codes`; None: it was not tried.
    :ivar tag: where it was to go.
    :ivar blobs: how many there are of it.
    :ivar bytes: in all of them but descriptions.
    """

    code: int | None = None
    reason: str = ""
    tag: str = ""
    blobs: int = 0
    bytes: int = 0


class BundleResult(msgspec.Struct, frozen=True):
    """What has become of a bundle.

    :ivar code: 0, or that of the first item that failed; none after it was tried.
    :ivar items: in the order in which they were given.
    """

    code: int = DONE
    items: list[ItemResult] = []

    @property
    def reason(self) -> str:
        """Why it failed, or ""."""
        return next((item.reason for item in self.items if item.code), "")


class Progress(msgspec.Struct, frozen=True):
    """How far a bundle is.

    :ivar item: the number of the item in hand.
    :ivar done: how many are stored.
    :ivar bytes: that were read so far.
    """

    item: int
    done: int
    total: int
    bytes: int


class BlobEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A blob that was found.

    :ivar crc: CRC-32 of its bytes.
    :ivar mtime: when its source was changed last, seconds since 1970, where it says so.
    :ivar source: where it comes from; "": it was put by hand.
    :ivar media: ``binary``, ``text``, ``tensor<float64, 3, 4>``, ...; of the whole source.
    :ivar offset: within the source.
    """

    tag: str
    name: str
    size: int = 0
    crc: int = 0
    mtime: float = 0.0
    source: str = ""
    media: str = ""
    offset: int = 0


class Found(msgspec.Struct, frozen=True):
    """A page of what a query has found.

    :ivar after: gives the next page: tag and name; None: this is the last one.
    """

    items: list[BlobEntry]
    after: tuple[str, str] | None = None


class Packed(msgspec.Struct, frozen=True):
    """Blobs, one after another.

    :ivar data: their bytes, without anything between them; None: too many for one answer.
    :ivar index: what they are, in the same order.
    :ivar offsets: of each in ``data``.
    """

    data: bytes | None
    index: list[BlobEntry] = []
    offsets: list[int] = []
    total: int = 0

    def __getitem__(self, number: int) -> memoryview:
        """Return the bytes of a blob, without copying them."""
        start = self.offsets[number]
        return memoryview(self.data or b"")[start : start + self.index[number].size]

    def __len__(self) -> int:
        return len(self.index)


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """A piece of a stream of blobs: their bytes, one after another.

    :ivar index: the blobs that begin in this piece, or have no bytes.
    """

    index: list[BlobEntry]
    data: bytes


class TagStat(msgspec.Struct, frozen=True):
    """What is known of a tag.

    :ivar created: seconds since 1970, as is ``changed``.
    :ivar sources: how many there are in it, things put by hand included.
    """

    tag: str
    blobs: int
    bytes: int
    created: float
    changed: float
    sources: int


class Tags(msgspec.Struct, frozen=True):
    """Some tags.

    :ivar cursor: gives the next ones; None: these are the last.
    """

    items: list[str]
    cursor: str | None = None


class Destroyed(msgspec.Struct, frozen=True):
    """What was destroyed.

    :ivar missing: names of which there was no tag.
    """

    code: int
    missing: list[str] = []
