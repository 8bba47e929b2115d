"""HDF5: a tag for each dataset, and for each group that has attributes.

A dataset ``/a/b`` of a file goes to the tag ``<tag>/a/b``: its ``description`` is
``tensor<float64, 3, 4>``, its elements are in C order, as the file has them, in blobs of 1.5 MiB.
Its attributes, and those of a group, are the blob ``attributes``, in JSON. What several links lead
to is taken once; links to other files are not followed.
"""

from __future__ import annotations

import fnmatch
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ion.services.contexts import codes
from ion.services.contexts.codes import ItemError
from ion.services.contexts.draft import Draft, Pieces
from ion.services.contexts.model import MAX_TAG, Item
from ion.services.contexts.names import fault_of, plain
from ion.services.contexts.roots import Roots

CHUNK = 1536 * 1024  # bytes of a blob
MAX_TAGS = 2_000  # of one file: they are entered at once
_BASE = 200  # characters
_NAMED = {"i": "int", "u": "uint", "f": "float", "c": "complex"}


def drafts(item: Item, tag: str, where: str, roots: Roots) -> list[Draft]:
    """Return what is to be stored of an HDF5 file.

    :raises ItemError: it is not there, is no HDF5, or may not be read.
    """
    if not where:
        raise ItemError(codes.NO_TAG, "the source has no path: hdf5::/path/to/file")
    path = roots.checked(where)
    with _opened(path) as file, _mapped(codes.MISSING, f"{path} cannot be listed"):
        made = (_draft(item, tag, path, name, node) for name, node in _nodes(file))
        found = [draft for draft in made if draft is not None]
    if len(found) > MAX_TAGS:
        message = f"{path} makes {len(found)} tags: {MAX_TAGS} at most; give include or exclude"
        raise ItemError(codes.OVER_LIMIT, message)
    return found


def is_wanted(name: str, include: list[str], exclude: list[str]) -> bool:
    """Return whether globs take a path (``/a/b``): excluded first, ``*`` matches ``/``, too."""
    if any(fnmatch.fnmatchcase(name, glob) for glob in exclude):
        return False
    return not include or any(fnmatch.fnmatchcase(name, glob) for glob in include)


def _opened(path: Path) -> Any:
    try:
        import h5py
    except ImportError:
        message = "HDF5 needs h5py: pip install 'ioncore[contexts]'"
        raise ItemError(codes.NOT_INSTALLED, message) from None
    if not path.is_file():
        raise ItemError(codes.NO_PATH, f"there is no file {path}")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise ItemError(codes.NO_PATH, f"{path} cannot be opened as HDF5: {error}") from None


def _nodes(file: Any) -> Iterator[tuple[str, Any]]:
    """Return groups and datasets with their paths; what lies behind external links is left."""
    names: list[str] = ["/"]
    file.visit(lambda name: names.append(f"/{name}"))  # each object once, by hard links
    for name in names:
        yield name, file[name]


def _draft(item: Item, tag: str, path: Path, name: str, node: Any) -> Draft | None:
    if not is_wanted(name, item.include, item.exclude):
        return None
    is_dataset = hasattr(node, "dtype") and hasattr(node, "shape")
    attributes = {key: _plain(node.attrs, key) for key in node.attrs}
    if not is_dataset and not attributes:
        return None
    if is_dataset and (node.external or node.is_virtual):
        message = f"dataset {name} of {path} has its data in other files: these may not be read"
        raise ItemError(codes.OUTSIDE, message)
    own = tag if name == "/" else f"{tag}{name}"
    fault = fault_of(own, MAX_TAG)
    if fault:
        raise ItemError(codes.NO_TAG, f"tag {own[:50]!r} {fault}")
    media = _media(node) if is_dataset else "group"
    draft = Draft(
        tag=own,
        source=f"hdf5::{plain(str(path))}",
        origin=f"hdf5::{plain(f'{path}#{name}')}",
        base=plain(path.name)[:_BASE],
        media=media,
        pieces=lambda: _pieces(path, name) if is_dataset else iter(()),
        size=_size(node) if is_dataset else 0,
        mtime=path.stat().st_mtime,
        description=lambda _: media,
    )
    if attributes:
        draft.extra["attributes"] = json.dumps(attributes, sort_keys=True).encode()
    return draft


def _media(node: Any) -> str:
    if node.shape is None:  # it has a type, and nothing in it
        return "tensor<empty>"
    return f"tensor<{', '.join([_type(node.dtype), *map(str, node.shape)])}>"


def _type(dtype: Any) -> str:
    kind = _NAMED.get(dtype.kind)
    if kind is not None:
        return f"{kind}{dtype.itemsize * 8}"
    return "string" if dtype.kind in "OS" else "bool" if dtype.kind == "b" else "unknown"


def _size(node: Any) -> int | None:
    if node.shape is None:
        return 0
    if node.dtype.kind == "O":  # texts of any length, references: written as JSON
        return None
    size: int = math.prod(node.shape) * node.dtype.itemsize
    return size


def _pieces(path: Path, name: str) -> Pieces:
    fault = f"dataset {name} of {path} cannot be read"
    with _mapped(codes.BAD_RANGE, fault), _opened(path) as file:
        buffer = bytearray()
        for rows in _rows(file[name]):
            buffer += rows
            while len(buffer) >= CHUNK:
                yield bytes(buffer[:CHUNK])
                del buffer[:CHUNK]
        if buffer:
            yield bytes(buffer)


@contextmanager
def _mapped(code: int, fault: str) -> Iterator[None]:
    """Let what the library says be an item's error."""
    try:
        yield
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise ItemError(code, f"{fault}: {error}") from None


def _rows(node: Any) -> Iterator[bytes]:
    """Give a dataset's elements, as many at a time as fit in a blob."""
    if node.shape is None or 0 in node.shape:
        return
    for selection in _selections(node.shape, node.dtype.itemsize):
        yield _bytes(node[selection], node.dtype)


def _selections(shape: tuple[int, ...], size: int) -> Iterator[tuple[int | slice, ...]]:
    """Give what to select, in C order: some rows at a time, or, of long ones, parts of each."""
    if not shape:
        yield ()
        return
    row = math.prod(shape[1:]) * size
    if row > CHUNK:
        for number in range(shape[0]):
            for rest in _selections(shape[1:], size):
                yield (number, *rest)
        return
    step = max(1, CHUNK // max(1, row))
    for start in range(0, shape[0], step):
        yield (slice(start, start + step),)


def _bytes(value: Any, dtype: Any) -> bytes:
    if dtype.kind == "O":
        listed = value.tolist() if hasattr(value, "tolist") else [value]
        lines = [json.dumps(_json(each)) for each in listed]
        return ("\n".join(lines) + "\n").encode()
    data: bytes = value.tobytes()
    return data


def _plain(attributes: Any, key: str) -> Any:
    """Return an attribute as JSON can say it."""
    try:
        return _json(attributes[key])
    except (OSError, TypeError, ValueError) as error:
        return f"unreadable: {error}"


def _json(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return _json(value.tolist())
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list | tuple):
        return [_json(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)
