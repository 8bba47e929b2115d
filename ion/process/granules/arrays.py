"""Arrays and their bytes. The one module of the runtime that imports numpy."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from ion.base.errors import CodecError, ConfigurationError, InvalidRequest
from ion.process.granules.definition import MAX_FIELDS, Field
from ion.process.granules.dtypes import WIRE, dtype_code
from ion.process.granules.wire import Part

try:
    import numpy as np
except ImportError:
    _message = "streams of granules need numpy: pip install 'ioncore[streams]'"
    raise ConfigurationError(_message) from None

_KINDS = "biufcSUmM"
_WIDEST = {"f": 8, "c": 16}  # what is wider is another one on each kind of machine
ANY = (None,)  # one dimension of any length
Piece = tuple[str, str, tuple[int, ...], Any, int]


def pieces(
    fields: Mapping[str, Any], wanted: Mapping[str, Field] | None, *, ragged: bool = False
) -> list[Piece]:
    """Return fields as they are written: name, type, shape, buffer, and how many bytes.

    :param fields: name -> array, or what numpy makes one of.
    :param wanted: the fields of the definition; None: any.
    :param ragged: they may be of different lengths.
    :raises InvalidRequest: they are not those that are wanted; the message names the field.
    """
    is_map = fields.__class__ is dict or isinstance(fields, Mapping)
    if not is_map or not 0 < len(fields) <= MAX_FIELDS:
        message = f"a granule has 1 to {MAX_FIELDS} fields, by name, not {type(fields).__name__}"
        raise InvalidRequest(message)
    if wanted is not None and fields.keys() != wanted.keys():
        raise _other_fields(fields, wanted)
    made = [
        _piece(name, value, None if wanted is None else wanted[name])
        for name, value in fields.items()
    ]
    if len(made) > 1 and not ragged:
        _check_lengths(made, wanted)
    return made


def _check_lengths(made: list[Piece], wanted: Mapping[str, Field] | None) -> None:
    """Refuse a granule whose fields have a different number of samples.

    What its definition gives a length of its own, and what has none, is one value for all samples.
    """
    first: Piece | None = None
    for piece in made:
        shape = piece[2]
        if not shape or (wanted is not None and wanted[piece[0]].shape[0] is not None):
            continue
        if first is None:
            first = piece
        elif shape[0] != first[2][0]:
            message = (
                f"field {piece[0]!r} has {shape[0]} samples, and field {first[0]!r} "
                f"{first[2][0]}: a granule's fields are of one length, but where its definition "
                "fixes that of a field, or is ragged"
            )
            raise InvalidRequest(message, details={"field": piece[0]})


def _piece(name: str, value: Any, field: Field | None) -> Piece:
    array = value if value.__class__ is np.ndarray else _made(name, value, field)
    shape = array.shape
    dtype = _written(array.dtype, "" if field is None else field.dtype)
    if not dtype or (field is not None and not _fits(shape, field)):
        raise _unlike(name, array, field)
    if not name or not isinstance(name, str):
        message = f"a field's name is a text, not {name!r:.80}"
        raise InvalidRequest(message)
    if not array.flags.c_contiguous:
        array = np.ascontiguousarray(array)
    # A time has no format that a buffer could tell: it goes as whole numbers.
    data = array.reshape(-1).view("i8") if dtype[1] in "mM" else array
    return name, dtype, shape, data, array.nbytes


@functools.lru_cache(maxsize=1000)
def _written(dtype: Any, code: str) -> str:
    """Return an array's type as it is written; "": it cannot be, or is not that of its field."""
    if dtype.kind not in _KINDS or not dtype.itemsize or not WIRE.match(dtype.str):
        return ""
    if dtype.itemsize > _WIDEST.get(dtype.kind, dtype.itemsize):
        return ""
    return str(dtype.str) if not code or _is_type(dtype, code) else ""


def _made(name: str, value: Any, field: Field | None) -> Any:
    """Return a list, or a number, as an array: of the type of its field, where no value is lost."""
    wanted = np.dtype(field.dtype) if field is not None else None
    is_time = wanted is not None and wanted.kind in "mM"
    try:
        if isinstance(value, np.ndarray):
            return _bare(value)
        array = np.asarray(value, wanted if is_time else None)  # a time may be text, ISO 8601
        if is_time and not _is_moment(array, value):
            message = f"not all of it is a time in {field.dtype if field else ''}"
            raise ValueError(message)
    except (ValueError, TypeError, OverflowError) as error:
        message = f"field {name!r} cannot be an array: {error}"
        raise InvalidRequest(message, details={"field": name}) from None
    if wanted is None or wanted.kind in "SUmM" or array.dtype.kind == "O":
        return array
    if not array.size or _keeps(array, wanted):
        return array.astype(wanted)
    return array


def _bare(array: Any) -> Any:
    """Return an array of a class below numpy's as one of numpy's.

    :raises ValueError: some of it is masked, which no granule can say.
    """
    if np.ma.is_masked(array):
        message = "some of it is masked: fill it"
        raise ValueError(message)
    return np.asarray(array)


def _is_moment(array: Any, value: Any) -> bool:
    """Return whether times that were text are the same in their field's unit."""
    if np.asarray(value).dtype.kind in "iu":
        return True
    exact = np.asarray(value, array.dtype.kind + "8")
    return bool(((array.astype(exact.dtype) == exact) | np.isnat(exact)).all())


def _keeps(array: Any, wanted: Any) -> bool:
    kind = array.dtype.kind
    if not np.can_cast(array.dtype, wanted, "same_kind"):
        return kind == "i" and wanted.kind == "u" and _in_range(array, wanted)
    if wanted.kind in "iu":
        return _in_range(array, wanted)
    with np.errstate(over="ignore"):
        made = array.astype(wanted)
    if kind in "iu":  # a float is rounded, as floats are; a whole number is not
        return bool((made.astype(array.dtype) == array).all())
    return bool((np.isfinite(made) == np.isfinite(array)).all())


def _in_range(array: Any, wanted: Any) -> bool:
    info = np.iinfo(wanted)
    return bool(array.min() >= info.min and array.max() <= info.max)


@functools.lru_cache(maxsize=1000)
def _is_type(dtype: Any, code: str) -> bool:
    """Return whether an array's type is that of its field, whatever its byte order."""
    if dtype.kind in "OV":
        return False
    if code[0] in "SU":
        longest = np.dtype(code).itemsize
        return bool(dtype.kind == code[0] and (not longest or dtype.itemsize <= longest))
    return dtype_code(dtype) == code


def _fits(shape: tuple[int, ...], field: Field) -> bool:
    wanted = field.shape
    if wanted == ANY:
        return len(shape) == 1
    if len(shape) != len(wanted):
        return False
    return all(n is None or n == have for n, have in zip(wanted, shape, strict=True))


def check_granule(fields: Mapping[str, Any], wanted: Mapping[str, Field]) -> str:
    """Return what a granule lacks of the fields that are wanted; "": nothing. More may be there."""
    for name, field in wanted.items():
        array = fields.get(name)
        if array is None:
            return f"there is no field {name!r}"
        if not (_is_type(array.dtype, field.dtype) and _fits(array.shape, field)):
            return f"field {name!r} is of {array.dtype} and shape {array.shape}"
    return ""


def _unlike(name: str, array: Any, field: Field | None) -> InvalidRequest:
    if field is None:
        message = f"field {name!r}: an array of {array.dtype} cannot be in a stream"
        return InvalidRequest(message, details={"field": name})
    shape = ", ".join("any" if n is None else str(n) for n in field.shape)
    wanted = field.dtype if field.dtype[0] in "SU" else np.dtype(field.dtype)
    message = (
        f"field {name!r}: an array of {array.dtype} and shape {array.shape} is not what the "
        f"definition says: {wanted} and shape ({shape})"
    )
    return InvalidRequest(message, details={"field": name})


def _other_fields(fields: Mapping[str, Any], wanted: Mapping[str, Field]) -> InvalidRequest:
    missing = [name for name in wanted if name not in fields]
    unknown = [str(name) for name in fields if name not in wanted]
    words = [f"missing: {', '.join(missing)}"] if missing else []
    words += [f"not of the definition: {', '.join(unknown)}"] if unknown else []
    message = f"fields {'; '.join(words)}"
    return InvalidRequest(message, details={"missing": missing, "unknown": unknown})


def array_of(name: str, part: Part) -> Any:
    """Return a field that came as an array: a view of the message, not to be written to.

    :raises CodecError: its bytes are not what its type and shape say.
    """
    skip = part.skip
    try:
        if skip < 0:
            message = f"{skip} bytes cannot be skipped"
            raise ValueError(message)
        array = np.ndarray(part.shape, _dtype(part.dtype), part.data, skip)
        if array.nbytes != len(part.data) - skip:
            message = f"{len(part.data)} bytes are no {part.dtype} of shape {part.shape}"
            raise ValueError(message)
    except (ValueError, TypeError, OverflowError) as error:
        message = f"field {name!r:.80} of a granule cannot be read: {error}"
        raise CodecError(message, code=400, type="CodecError") from None
    return array


@functools.lru_cache(maxsize=1000)
def _dtype(text: str) -> Any:
    if not WIRE.match(text):
        message = f"{text!r:.80} is no type of a stream"
        raise ValueError(message)
    dtype = np.dtype(text)
    if not dtype.itemsize:
        message = f"{text!r} has no size"
        raise ValueError(message)
    return dtype
