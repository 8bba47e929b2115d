"""Interceptors: functions ``envelope -> envelope``, named in configuration, run as a flat tuple.

Each is built once, at start, from its dotted name: the object named is a factory that takes the
messaging settings and returns the function; one that takes two arguments is given the endpoint,
too, of which it may keep what it needs. They run on every message both ways, replies included,
but for one that says ``only_requests`` of itself; they do no I/O. To refuse a message, raise an
IonError: the sender is answered with it (or gets it, on the way out), and where there is nobody
to answer the message is dead-lettered.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from ion.base.errors import ConfigurationError, ContentTooLarge
from ion.base.plugin import resolve
from ion.messaging.envelope import Envelope

Interceptor = Callable[[Envelope], Envelope]


def build(names: Iterable[str], settings: Any, endpoint: Any = None) -> tuple[Interceptor, ...]:
    """Return the interceptors with these dotted names, in order.

    :param endpoint: that they are for.
    :raises ConfigurationError: a name leads nowhere, or not to a factory of functions.
    """
    return tuple(_built(name, settings, endpoint) for name in names)


def screen_of(inbound: tuple[Interceptor, ...]) -> Interceptor | None:
    """Return the first interceptor for what comes in, where it says ``is_screen`` of itself.

    It is asked before anything is done with an answer, or with what is said later in a
    conversation: what it refuses is as if it had never come. It changes nothing.

    :raises ConfigurationError: one that is such is not the first.
    """
    screens = [each for each in inbound if getattr(each, "is_screen", False)]
    if screens and inbound[0] is not screens[0]:
        message = "messaging.interceptors.in: what checks signatures must stand first"
        raise ConfigurationError(message)
    return screens[0] if screens else None


def _built(name: str, settings: Any, endpoint: Any) -> Interceptor:
    try:
        factory = resolve(name)
    except ConfigurationError as error:
        message = f"messaging.interceptors: {error.message}"
        raise ConfigurationError(message, details=error.details) from error
    try:
        given = (settings, endpoint) if _takes_two(factory) else (settings,)
        interceptor = factory(*given) if callable(factory) else None
    except Exception as error:  # code that is not ours: whatever it raises is this name's fault
        said = f"{type(error).__name__}: {error}"
        message = f"interceptor {name!r} cannot be made from the messaging settings: {said}"
        raise ConfigurationError(message) from error
    if not callable(interceptor):
        message = f"interceptor {name!r} is not a function of the settings that returns a function"
        raise ConfigurationError(message)
    return interceptor  # type: ignore[no-any-return]


def _takes_two(factory: Any) -> bool:
    """Tell whether a factory has a second argument that must be given."""
    if not inspect.isfunction(factory):
        return False
    code, defaults = factory.__code__, factory.__defaults__ or ()
    return code.co_argcount - len(defaults) == len(("settings", "endpoint"))


def too_large(size: int, limit: int) -> ContentTooLarge:
    """Return the error for content over the limit ``messaging.max_content``, which all hold."""
    message = (
        f"content of {size} bytes is over the limit of {limit}; "
        "send it as a stream or by reference, or raise messaging.max_content"
    )
    return ContentTooLarge(message, details={"size": size, "limit": limit})
