"""The service: a process with a public name and a queue that all its instances share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from ion.base.errors import ConfigurationError
from ion.base.ids import checked_name
from ion.messaging.address import checked_service
from ion.process.process import Process
from ion.process.serving.source import MODES

MAX_PREFETCH = 65_535


class Service(Process):
    """Base class of services.

    ::

        class HelloService(Service, name="hello", version="0.1.0", depends=["clock"]):
            async def op_hello(self, text: str = "Hi there") -> str:
                return f"Hello there, {text}"

    :param name: public name; the queue of system S is ``S.<name>``.
    :param version: semantic version; major M, from 1 on, is also
        reached as ``<name>.v<M>``.
    :param depends: services that must be consumed by somebody before this one is activated.
    :param concurrency: messages handled at a time (default 64; 1 for one at a time).
    :param prefetch: unsettled messages the broker hands over at a time; by default what is handled
        and waits at a time, so that a flood is answered 503 rather than piling up unseen. Set it
        to ``concurrency`` for slow ops, so that the backlog stays in the queue for other instances.
    :param delivery: ``at-most-once``, ``at-least-once`` or ``effectively-once``; by default as the
        settings say.
    :param attempts: how often a message is tried before it goes to the dead letters; by default as
        the settings say.
    :param singleton: one instance at a time takes requests, whichever the broker chooses; when its
        connection is gone, another one does.
    """

    service_name: ClassVar[str] = ""
    version: ClassVar[str] = "0.0.0"
    depends: ClassVar[Sequence[str]] = ()
    concurrency: int = 64
    prefetch: int | None = None
    delivery: str | None = None
    attempts: int | None = None
    singleton: bool = False

    def __init_subclass__(
        cls,
        *,
        name: str | None = None,
        version: str | None = None,
        depends: Sequence[str] | None = None,
        concurrency: int | None = None,
        mailbox: int | None = None,
        prefetch: int | None = None,
        delivery: str | None = None,
        attempts: int | None = None,
        singleton: bool | None = None,
        **keywords: Any,
    ) -> None:
        super().__init_subclass__(**keywords)
        given = {
            "service_name": name,
            "version": version,
            "depends": depends,
            "concurrency": concurrency,
            "mailbox": mailbox,
            "prefetch": prefetch,
            "delivery": delivery,
            "attempts": attempts,
            "singleton": singleton,
        }
        for attribute, value in given.items():
            if value is not None:
                setattr(cls, attribute, value)
        if name is not None:
            cls.name = checked_service(name)
        _check(cls)

    @classmethod
    def major(cls) -> int:
        """Return the major version."""
        return int(cls.version.split(".")[0])

    def describe(self) -> dict[str, Any]:
        """Return what ``ioncc ps`` shows of it."""
        return {**super().describe(), "service": self.service_name, "version": self.version}


def _check(cls: type[Service]) -> None:
    """Check the keywords of a service class.

    :raises ConfigurationError: one of them cannot be.
    """
    where = cls.__qualname__
    if isinstance(cls.depends, str):
        message = f"{where}: depends must be a list of service names, not the text {cls.depends!r}"
        raise ConfigurationError(message)
    for dependency in cls.depends:
        checked_name(dependency, f"{where}: dependency")
    if not isinstance(cls.version, str) or not cls.version.split(".")[0].isdecimal():
        message = f"{where}: version must be text, as '1.0.0', not {cls.version!r}"
        raise ConfigurationError(message)
    for word in ("concurrency", "mailbox", "prefetch", "attempts"):
        number = getattr(cls, word)
        if number is not None and number.__class__ is not int:
            message = f"{where}: {word} must be a whole number, not {number!r}"
            raise ConfigurationError(message)
    if cls.concurrency < 1 or cls.mailbox < 0:
        message = f"{where}: concurrency must be at least 1, and mailbox at least 0"
        raise ConfigurationError(message)
    if cls.delivery not in (None, *MODES):
        message = f"{where}: delivery must be one of {', '.join(MODES)}, not {cls.delivery!r}"
        raise ConfigurationError(message)
    if cls.attempts is not None and cls.attempts < 1:
        message = f"{where}: attempts must be at least 1"
        raise ConfigurationError(message)
    if cls.prefetch is not None and not 1 <= cls.prefetch <= MAX_PREFETCH:
        message = f"{where}: prefetch must be 1 to {MAX_PREFETCH}"
        raise ConfigurationError(message)


def prefetch_of(service: Service) -> int:
    """Return how many unsettled messages the broker may hand over.

    One more than fits, so that a flood reaches the mailbox's bound and is shed there.
    """
    if service.prefetch is not None:
        return service.prefetch
    if service.singleton:  # what it has in hand when it dies counts as tried
        return service.concurrency
    return min(service.concurrency + service.mailbox + 1, MAX_PREFETCH)
