"""What a stream is made of: the fields of its granules, and which versions of that go together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ion.base.errors import InvalidRequest
from ion.process.granules.dtypes import dtype_code
from ion.process.granules.names import checked_stream

MAX_FIELDS = 1000
MAX_DIMENSIONS = 32
Shape = tuple[int | None, ...]
_FORM = """write its type, as "f8", or a map, as {"dtype": "f8", "shape": [null, 3], "unit": "m"}"""


class Field(msgspec.Struct, frozen=True, omit_defaults=True):
    """One field of a granule: an array.

    :ivar dtype: type of its elements; see :func:`~ion.process.granules.dtypes.dtype_code`.
    :ivar shape: of the array; None stands for any length. By default, one dimension.
    :ivar unit: of its values, as ``degC``; description: for people.
    """

    dtype: str
    shape: Shape = (None,)
    unit: str = ""
    description: str = ""

    def __post_init__(self) -> None:
        """Check it, and write its type the one way there is.

        :raises InvalidRequest: there is no such type or shape.
        """
        msgspec.structs.force_setattr(self, "dtype", dtype_code(self.dtype))
        shape = tuple(self.shape)
        whole = all(n is None or (n.__class__ is int and n >= 0) for n in shape)
        if len(shape) > MAX_DIMENSIONS or not whole:
            message = f"a shape is up to {MAX_DIMENSIONS} lengths (None: any), not {self.shape!r}"
            raise InvalidRequest(message)
        msgspec.structs.force_setattr(self, "shape", shape)


class StreamDefinition(msgspec.Struct, frozen=True, omit_defaults=True):
    """The fields of a stream's granules.

    A granule is some samples, and a field has a value of each: all fields are of one length. A
    field that has a length of its own says so by its shape (``()``: one value for all of them).

    ::

        StreamDefinition("ctd", {"time": "datetime64[ms]", "temp": Field("f4", unit="degC")})

    :ivar name: of the definition; several streams may have the same.
    :ivar fields: name -> :class:`Field`; it may be given as a map of what that has, or only as its
        type.
    :ivar description: for people.
    :ivar version: 1, 2, ...; see :meth:`breaks`.
    :ivar ragged: its fields may be of different lengths; else those whose length is not fixed have
        as many samples as each other, in each granule.
    """

    name: str
    fields: Mapping[str, Any]
    description: str = ""
    version: int = 1
    ragged: bool = False

    def __post_init__(self) -> None:
        """Check it.

        :raises InvalidRequest: it is no definition; the message says why.
        """
        checked_stream(self.name)
        if not isinstance(self.fields, Mapping) or not 0 < len(self.fields) <= MAX_FIELDS:
            message = f"definition {self.name!r}: 1 to {MAX_FIELDS} fields, by name"
            raise InvalidRequest(message)
        if self.version.__class__ is not int or self.version < 1:
            message = f"definition {self.name!r}: versions are 1, 2, ..., not {self.version!r}"
            raise InvalidRequest(message)
        fields = {_name(name): _field(name, given) for name, given in self.fields.items()}
        msgspec.structs.force_setattr(self, "fields", fields)

    def breaks(self, older: StreamDefinition) -> list[str]:
        """Return what readers of an older version would miss in this one; empty: nothing.

        A field may be added. One that is gone, or has another type, shape or unit, breaks them.
        """
        found = ["fields may be of different lengths"] if self.ragged > older.ragged else []
        for name, field in older.fields.items():
            mine = self.fields.get(name)
            if mine is None:
                found.append(f"field {name!r} is gone")
                continue
            for what in ("dtype", "shape", "unit"):
                before, now = getattr(field, what), getattr(mine, what)
                if before != now:
                    found.append(f"{what} of field {name!r} was {before!r} and is {now!r}")
        return found


def _name(name: Any) -> str:
    if isinstance(name, str) and name:
        return name
    message = f"a field's name is a text, not {name!r:.80}"
    raise InvalidRequest(message)


def _field(name: str, given: Any) -> Field:
    if isinstance(given, Field):
        return given
    try:
        return msgspec.convert(given, Field) if isinstance(given, Mapping) else Field(given)
    except (msgspec.ValidationError, InvalidRequest) as error:
        said = error.message if isinstance(error, InvalidRequest) else str(error)
        message = f"field {name!r}: {said}; {_FORM}"
        raise InvalidRequest(message) from None
