"""What a supervisor is told: its children, and how they are kept running. Data, checked when made.

Times are in seconds.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from ion.base.errors import ConfigurationError
from ion.base.schema import check, required_of
from ion.base.settings import Seconds, Word

ONE_FOR_ONE = "one_for_one"
ONE_FOR_ALL = "one_for_all"
REST_FOR_ONE = "rest_for_one"
POOL = "pool"
PERMANENT = "permanent"
TRANSIENT = "transient"
TEMPORARY = "temporary"
NEVER = "never"
ANY_SIGNIFICANT = "any_significant"
ALL_SIGNIFICANT = "all_significant"

Restart = Literal["permanent", "transient", "temporary"]
Strategy = Literal["one_for_one", "one_for_all", "rest_for_one", "pool"]
AutoShutdown = Literal["never", "any_significant", "all_significant"]
Budget = Annotated[float, msgspec.Meta(ge=0, le=1e9)]


class _Checked(msgspec.Struct, frozen=True, kw_only=True):
    """Base: whoever makes one is told at once what is wrong with it."""

    def __post_init__(self) -> None:
        data = {field: getattr(self, field) for field in self.__struct_fields__}
        try:
            msgspec.convert(data, _unchecked(type(self)))
        except msgspec.ValidationError:
            fault = check(data, type(self))[0]
            key = ".".join(str(part) for part in fault.path)
            message = f"{key}: {fault.message}"
            raise wrong(message, key) from None


_T = TypeVar("_T", bound=_Checked)


@functools.cache
def _unchecked(struct: type[_Checked]) -> Any:
    """Return a struct of the same fields that msgspec alone checks: a pool makes many specs."""
    fields = [(field.name, field.type) for field in msgspec.structs.fields(struct)]
    return msgspec.defstruct(struct.__name__, fields)


class ChildSpec(_Checked, frozen=True, kw_only=True):
    """A process that a supervisor starts and keeps running.

    :param id: its name, the only one of that name with its supervisor.
    :param target: a process class, or the dotted name of one.
    :param args: for the process.
    :param restart: ``permanent`` always, ``transient`` after a failure, ``temporary`` never.
    :param shutdown: seconds that it has to end; 0: it is killed at once; None: as many as its
        container has to drain (``container.drain_timeout``), as is right for a supervisor.
    :param significant: whether its end may be the end of the supervisor's work.
    :raises ConfigurationError: a value is wrong; the message and ``details["key"]`` name the key.
    """

    id: Word
    target: Any
    args: Mapping[str, Any] = {}
    restart: Restart = "permanent"
    shutdown: Budget | None = 5.0
    significant: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.target, type) and not (isinstance(self.target, str) and self.target):
            message = f"child {self.id!r}: target must be a class or the dotted name of one"
            raise wrong(message, "target")
        if self.significant and self.restart == PERMANENT:
            message = (
                f"child {self.id!r}: significant is for children that may end;"
                " a permanent one is always restarted"
            )
            raise wrong(message, "significant")


class Backoff(_Checked, frozen=True, kw_only=True):
    """How long a restart waits: the longer, the more often the child failed in a row.

    :param first: at most so long before the first restart.
    :param factor: so many times longer before each further one.
    :param cap: never longer than that.
    :param jitter: wait for a random part of it, so that what failed together does not come back
        together; false: for all of it.
    :param reset: a child that was up for so long begins anew with ``first``.
    """

    first: Seconds = 0.1
    factor: Annotated[float, msgspec.Meta(ge=1, le=1000)] = 2.0
    cap: Seconds = 30.0
    jitter: bool = True
    reset: Seconds = 30.0

    def delay(self, failures: int, draw: float) -> float:
        """Return the seconds before the next restart.

        :param failures: how often the child failed in a row before this time.
        :param draw: a random number, 0 <= draw <= 1.
        """
        steps = math.log(max(self.cap / self.first, 1.0), self.factor) if self.factor > 1 else 0
        longest = min(self.first * self.factor ** min(failures, math.ceil(steps)), self.cap)
        return longest * draw if self.jitter else longest


class Flags(_Checked, frozen=True, kw_only=True):
    """How the children of a supervisor are kept running.

    :param strategy: which ones are restarted when one of them fails.
    :param intensity: restarts allowed within ``period``; beyond, the supervisor fails.
    :param period: that of ``intensity``.
    :param auto_shutdown: whether the supervisor ends when ``any`` or ``all`` of its significant
        children have.
    :param backoff: how long restarts wait; None: they do not.
    :raises ConfigurationError: a value is wrong; the message and ``details["key"]`` name the key.
    """

    strategy: Strategy = "one_for_one"
    intensity: Annotated[int, msgspec.Meta(ge=0)] = 1
    period: Seconds = 5.0
    auto_shutdown: AutoShutdown = "never"
    backoff: Backoff | None = Backoff()

    def check_child(self, spec: ChildSpec, present: Iterable[str]) -> None:
        """Check that a child fits.

        :param present: ids of the children that are there already.
        :raises ConfigurationError: it does not; the message and ``details["key"]`` name the key.
        """
        if spec.id in present:
            message = f"child {spec.id!r}: id is given twice"
            raise wrong(message, "id")
        if spec.significant and self.auto_shutdown == NEVER:
            message = (
                f"child {spec.id!r}: significant means nothing"
                " where the supervisor's auto_shutdown is never"
            )
            raise wrong(message, "significant")


def wrong(message: str, key: str) -> ConfigurationError:
    """Return the error that says what is wrong at a key."""
    return ConfigurationError(message, details={"key": key})


def child_of(data: ChildSpec | Mapping[str, Any]) -> ChildSpec:
    """Return a child as data says it: the fields by name; ``class`` may stand for ``target``.

    :raises ConfigurationError: it is no map, a value is wrong, or a key unknown; the message
        names the key.
    """
    if isinstance(data, ChildSpec):
        return data
    if not isinstance(data, Mapping):
        message = f"a child must be a ChildSpec or a map of its fields, not {data!r}"
        raise wrong(message, "children")
    renamed = {"target" if key == "class" else key: value for key, value in data.items()}
    return _made(ChildSpec, renamed)


def flags_of(data: Mapping[str, Any]) -> Flags:
    """Return flags as data says them: the fields by name.

    :raises ConfigurationError: a value is wrong, or a key unknown; the message names the key.
    """
    backoff = data.get("backoff")
    if isinstance(backoff, Mapping):
        data = {**data, "backoff": _made(Backoff, backoff)}
    return _made(Flags, data)


def _made(struct: type[_T], data: Mapping[str, Any]) -> _T:
    for key in data:
        if key not in struct.__struct_fields__:
            message = f"{key}: unknown key (known: {', '.join(struct.__struct_fields__)})"
            raise wrong(message, str(key))
    for name in required_of(struct):
        if name not in data:
            message = f"{name}: is missing"
            raise wrong(message, name)
    return struct(**data)
