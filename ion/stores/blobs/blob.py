"""What is known of a blob, and how it is kept.

A blob's *place* is a random word; its n-th chunk has the key ``<place>/<n>``. The chunks come
first, then the blob's record, which makes it visible: whole, or not at all. Each place has a record
of its own from its first moment to its last, so that chunks whose blob never came, or has gone, are
found and removed, whenever the one that put them died.

Chunks are not shared between blobs: where contents have much in common, keep them as elements of a
repository. So a chunk needs no count of who uses it.
"""

from __future__ import annotations

import re

import msgspec

from ion.base.errors import Damaged, InvalidRequest

DIGEST = 32  # bytes of SHA-256
_HASH = re.compile(r"[0-9a-f]{64}")
_OWNER = re.compile(r"[^\0]{1,256}")
_PLACE = re.compile(r"[A-Za-z0-9_-]{1,64}")


class BlobRef(msgspec.Struct, frozen=True):
    """A content, by what it is.

    :ivar hash: SHA-256 of all of it, in hexadecimal: what ``sha256sum`` prints.
    :ivar size: bytes.
    """

    hash: str
    size: int


class Stat(msgspec.Struct, frozen=True):
    """What is known of a blob.

    :ivar at: when it was put or linked last, seconds since 1970.
    """

    hash: str
    size: int
    chunk: int
    at: float


class Manifest(msgspec.Struct, frozen=True, array_like=True):
    """A blob's record: where its chunks are, and what they must be.

    :ivar chunk: bytes of each chunk but the last one.
    :ivar digests: SHA-256 of each chunk, one after another.
    """

    size: int
    chunk: int
    place: str
    digests: bytes

    @property
    def count(self) -> int:
        """How many chunks there are."""
        return len(self.digests) // DIGEST

    def digest(self, number: int) -> bytes:
        """Return the SHA-256 of a chunk."""
        return self.digests[number * DIGEST : (number + 1) * DIGEST]


class Place(msgspec.Struct, frozen=True, array_like=True):
    """A place's record.

    :ivar hash: of the blob that it was put for; "" while it is being put.
    """

    chunk: int
    hash: str = ""


def manifest_of(hash: str, data: bytes) -> Manifest:
    """Return a blob's record.

    :raises Damaged: it cannot be read.
    """
    try:
        return msgspec.msgpack.decode(data, type=Manifest)
    except msgspec.MsgspecError as error:
        message = f"the record of blob {hash} cannot be read: {error}"
        raise Damaged(message, details={"hash": hash}) from error


def place_of(name: str, data: bytes) -> Place:
    """Return a place's record.

    :raises Damaged: it cannot be read.
    """
    try:
        return msgspec.msgpack.decode(data, type=Place)
    except msgspec.MsgspecError as error:
        message = f"the record of upload {name} cannot be read: {error}"
        raise Damaged(message, details={"upload": name}) from error


def chunk_key(place: str, number: int) -> str:
    """Return the key of a chunk; the keys of a place are in the order of its chunks."""
    return f"{place}/{number:08x}"


def checked_hash(hash: str) -> str:
    """Return a hash.

    :raises InvalidRequest: it is none.
    """
    if not isinstance(hash, str) or not _HASH.fullmatch(hash):
        message = f"{hash!r} is no hash of a blob: SHA-256 in 64 lower-case hexadecimal digits"
        raise InvalidRequest(message)
    return hash


def checked_owner(owner: str) -> str:
    """Return the name of an owner.

    :raises InvalidRequest: it is none: text of 1 to 256 characters.
    """
    if not isinstance(owner, str) or not _OWNER.fullmatch(owner):
        message = f"{owner!r} cannot own a blob: give text of 1 to 256 characters"
        raise InvalidRequest(message)
    return owner


def checked_place(name: str) -> str:
    """Return the id of an upload.

    :raises InvalidRequest: it is none: 1 to 64 letters, digits, ``_`` or ``-``.
    """
    if not isinstance(name, str) or not _PLACE.fullmatch(name):
        message = f"{name!r} is no id of an upload: 1 to 64 letters, digits, _ or -"
        raise InvalidRequest(message)
    return name
