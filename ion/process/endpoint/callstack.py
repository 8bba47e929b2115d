"""The call stack: who waits on whom, so that a call that would wait on itself is refused.

Each entry is ``<pid> <name>.<op>``: a call that is being handled and waits for the next one. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ion.base.errors import CallCycle
from ion.observe.context import CallContext

HEADER = "call-stack"
TOKEN = "token"  # noqa: S105 - the header's name
MAX_DEPTH = 64


def entry(pid: str, name: str, op: str) -> str:
    """Return the entry of a call that is being handled."""
    return f"{pid} {name}.{op}"


def deeper(stack: Iterable[str], own: str) -> list[str]:
    """Return the stack that a call made from within ``own`` carries.

    :raises CallCycle: it is more than 64 calls deep: nobody builds that on purpose.
    """
    longer = [*stack, own]
    if len(longer) > MAX_DEPTH:
        message = f"{len(longer)} calls deep: {' -> '.join(map(_name, longer[-4:]))}"
        raise CallCycle(message, details={"cycle": longer[-4:]})
    return longer


def stack_of(value: object) -> tuple[str, ...]:
    """Return the entries of a header, which may be anything; what is no text is passed over."""
    if not isinstance(value, list | tuple):
        return ()
    return tuple(item for item in value[:MAX_DEPTH] if isinstance(item, str))


def cycle(stack: tuple[str, ...], pid: str, own: str, concurrency: int) -> CallCycle | None:
    """Return the refusal of a call to ``pid``, where it could never begin; else None.

    It could not where each of the calls that ``pid`` handles at a time is in the stack: all of
    them wait, in the end, for this one.

    :param own: the entry of the call itself.
    """
    holding = [n for n, item in enumerate(stack) if item.partition(" ")[0] == pid]
    if len(holding) < concurrency:
        return None
    ring = [_name(item) for item in (*stack[holding[0] :], own)]
    name = _name(own).rpartition(".")[0]
    message = (
        f"{' -> '.join(ring)}: this call would wait on itself, as {name!r} handles "
        f"{concurrency} at a time; raise its concurrency, or call without waiting (send)"
    )
    return CallCycle(message, details={"cycle": ring})


def pass_on(context: CallContext, headers: dict[str, Any], *, waits: bool) -> None:
    """Let what belongs to the call that is being handled travel with the calls it makes.

    :param waits: whether it waits for the answer.
    :raises CallCycle: it would be more than 64 calls deep.
    """
    if context.user:
        headers["user-id"] = context.user
    if context.token:
        headers[TOKEN] = context.token
    if context.traceparent:
        headers["traceparent"] = context.traceparent
    if waits and not context.over:
        headers[HEADER] = deeper(context.stack, context.entry)


def add_to(
    headers: dict[str, Any],
    context: CallContext | None,
    extra: dict[str, Any] | None,
    own: str = "",
    *,
    waits: bool = True,
) -> None:
    """Add to a request's headers what belongs to the call that is being handled, and ``extra``.

    :param own: the token where no call is being handled.
    :raises CallCycle: it would be more than 64 calls deep.
    """
    if context is not None:
        pass_on(context, headers, waits=waits)
    elif own:
        headers[TOKEN] = own
    if extra is not None:
        headers.update(extra)


def _name(item: str) -> str:
    return item.partition(" ")[2] or item
