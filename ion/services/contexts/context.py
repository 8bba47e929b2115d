"""What to assimilate, as programs written for IOWarp say it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, overload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ion.services.contexts.model import Item

_TEXTS: Final = ("src", "dst", "format", "depends_on", "src_token", "dst_token", "src_data")
_COUNTS: Final = ("range_off", "range_size")
_LISTS: Final = ("include_patterns", "exclude_patterns")
_REQUIRED: Final = 3  # src, dst and format
_MAX: Final = 2**64 - 1
_DEFAULTS: Final[dict[str, Any]] = (
    dict.fromkeys(_TEXTS, "") | dict.fromkeys(_COUNTS, 0)
) | dict.fromkeys(_LISTS, ())


class AssimilationCtx:
    """Where data comes from, and which tag it goes to.

    Without an argument all is empty; else ``src``, ``dst`` and ``format`` are required. All are
    attributes that can be written, and are checked when they are.

    :param src: ``file::/path``, ``hdf5::/path``, ``string::<blob name>``, or a URL.
    :param dst: ``iowarp::<tag>``.
    :param format: ``binary``, or ``hdf5``.
    :param depends_on: what of the same bundle is stored before it; "": nothing.
    :param range_off: first byte that is taken.
    :param range_size: bytes that are taken; 0: to the end.
    :param src_token: for a source that asks for one.
    :param dst_token: is taken, and means nothing here.
    :param src_data: the text of ``string::``; as in IOWarp from 2.3 on.
    :param include_patterns: globs of the datasets of an HDF5 file that are taken; none: all.
    :param exclude_patterns: globs of those that are not.
    :raises TypeError: some of the first three only; a value of another type; a negative number.
    """

    __slots__ = (*_TEXTS, *_COUNTS, *_LISTS)

    src: str
    dst: str
    format: str
    depends_on: str
    range_off: int
    range_size: int
    src_token: str
    dst_token: str
    src_data: str
    include_patterns: Sequence[str]
    exclude_patterns: Sequence[str]

    @overload
    def __init__(self) -> None: ...

    @overload
    def __init__(
        self,
        src: str,
        dst: str,
        format: str,
        depends_on: str = "",
        range_off: int = 0,
        range_size: int = 0,
        src_token: str = "",
        dst_token: str = "",
        *,
        src_data: str = "",
        include_patterns: Sequence[str] = (),
        exclude_patterns: Sequence[str] = (),
    ) -> None: ...

    def __init__(self, *args: Any, **keywords: Any) -> None:
        for name, value in (_DEFAULTS | _bound(args, keywords)).items():
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        wanted = _wanted(name, value)
        if wanted:
            message = f"AssimilationCtx.{name} is {wanted}, not {type(value).__name__}"
            raise TypeError(message)
        object.__setattr__(self, name, value)

    def item(self) -> Item:
        """Return it as the contexts service takes it."""
        from ion.services.contexts.model import Item

        return Item(
            src=self.src,
            dst=self.dst,
            format=self.format,
            depends_on=self.depends_on,
            range_off=self.range_off,
            range_size=self.range_size,
            src_token=self.src_token,
            dst_token=self.dst_token,
            src_data=self.src_data,
            include=list(self.include_patterns),
            exclude=list(self.exclude_patterns),
        )

    def __repr__(self) -> str:
        return f"<AssimilationCtx src='{self.src}' dst='{self.dst}' format='{self.format}'>"


_POSITIONAL: Final = (
    "src",
    "dst",
    "format",
    "depends_on",
    "range_off",
    "range_size",
    "src_token",
    "dst_token",
)


def _bound(args: tuple[Any, ...], keywords: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments by name.

    :raises TypeError: too many, an unknown one, one given twice, or a required one missing.
    """
    if len(args) > len(_POSITIONAL):
        message = f"AssimilationCtx() takes {len(_POSITIONAL)} positional arguments at most"
        raise TypeError(message)
    given = dict(zip(_POSITIONAL, args, strict=False))
    for name, value in keywords.items():
        if name not in _DEFAULTS or name in given:
            fault = "given twice" if name in given else "not known"
            message = f"AssimilationCtx(): {name!r} is {fault}"
            raise TypeError(message)
        given[name] = value
    missing = [name for name in _POSITIONAL[:_REQUIRED] if name not in given]
    if given and missing:
        message = f"AssimilationCtx() needs {', '.join(missing)}, too"
        raise TypeError(message)
    return given


def _wanted(name: str, value: Any) -> str:
    """Return what ``name`` wants to be where ``value`` is not that; else ""."""
    if name in _COUNTS:
        is_count = isinstance(value, int) and 0 <= value <= _MAX
        return "" if is_count else f"a number from 0 to {_MAX}"
    if name in _LISTS:
        is_list = isinstance(value, list | tuple) and all(is_text(one) for one in value)
        return "" if is_list else "a list of texts"
    return "" if is_text(value) or name not in _TEXTS else "text that UTF-8 has"


def is_text(value: Any) -> bool:
    """Tell whether something is text, and UTF-8 has all of it: half a surrogate it has not."""
    if not isinstance(value, str):
        return False
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
