"""Types of array elements as text, without numpy: what a definition says, and a message holds."""

from __future__ import annotations

import re
from typing import Any

from ion.base.errors import InvalidRequest

# A type in a message: byte order, kind, size; as numpy writes it in ``dtype.str``. Objects,
# records and raw bytes are none.
WIRE = re.compile(r"(?:[<>|]?[biufcSU]\d{1,9}|[<>]?[mM]8\[\d{0,9}[a-zA-Z]{1,2}\])\Z")
_CODE = re.compile(r"[biufc]\d{1,2}\Z|[SU]\d{0,9}\Z|[mM]8\[\d{0,9}[a-zA-Z]{1,2}\]\Z")
_TIMES = re.compile(r"(datetime|timedelta)64\[(\d{0,9}[a-zA-Z]{1,2})\]\Z")
_SIZES = {"b": (1,), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8), "c": (8, 16)}
_NAMES = {
    "bool": "b1",
    "int": "i8",
    "float": "f8",
    "complex": "c16",
    "str": "U",
    "bytes": "S",
    **{f"int{8 * n}": f"i{n}" for n in (1, 2, 4, 8)},
    **{f"uint{8 * n}": f"u{n}" for n in (1, 2, 4, 8)},
    **{f"float{8 * n}": f"f{n}" for n in (2, 4, 8)},
    **{f"complex{8 * n}": f"c{n}" for n in (8, 16)},
}


def dtype_code(dtype: Any) -> str:
    """Return a type as its code: kind and size, as ``f8``, ``U10``, ``M8[ms]``.

    Byte order is left out: it is the array's own. ``U`` and ``S`` without a size are texts of any
    length.

    :param dtype: a code, a name as ``float64`` or ``datetime64[ms]``, a type, or numpy's dtype.
    :raises InvalidRequest: it is none that can be in a stream.
    """
    name = dtype if isinstance(dtype, str) else getattr(dtype, "str", None)
    name = name if isinstance(name, str) else getattr(dtype, "__name__", repr(dtype))
    text = name.removesuffix("_").lstrip("<>|=")
    times = _TIMES.match(text)
    code = f"{text[0] if text[0] == 't' else 'M'}8[{times[2]}]" if times else _NAMES.get(text, text)
    code = code.replace("t8[", "m8[")
    if _CODE.match(code) and (code[0] not in _SIZES or int(code[1:]) in _SIZES[code[0]]):
        return "U" if code == "U0" else "S" if code == "S0" else code
    message = (
        f"{name!r:.80} cannot be in a stream: numbers, bool, text of a length (U10, S10), "
        "datetime64[unit] and timedelta64[unit] can"
    )
    raise InvalidRequest(message)
