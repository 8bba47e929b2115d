"""What checks look at: the settings, the broker that was reached, what its containers answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ion.base.config import Configuration
from ion.base.findings import Finding
from ion.base.masking import mask_urls
from ion.base.settings import Settings
from ion.messaging.address import Namespace
from ion.messaging.transport import QueueInfo
from ion.shell.commandline.options import Options
from ion.shell.doctor.diagnosis import Diagnosis
from ion.shell.doctor.reach import Reached

Info = Mapping[str, Any]
_CONTAINERS_OWN = frozenset({"answers", "processes", "control"})  # kinds of names


class NotLooked(Exception):
    """A look cannot be made; the text says why."""


@dataclass
class Answers:
    """What the containers answered, and when that was.

    :ivar infos: a map each, as the op ``info`` of their agents.
    :ivar asked: when for it, seconds since the epoch.
    :ivar answered: likewise.
    :ivar healths: a map each, as the op ``health``; older containers have none.
    """

    infos: Sequence[Info]
    asked: float
    answered: float
    healths: Sequence[Info] = ()


@dataclass
class Context:
    """All that is known so far.

    :ivar options: what was typed.
    :ivar configuration: what holds, without what is wrong.
    :ivar findings: what is wrong with the settings.
    :ivar urls: of the broker; for a memory bus that listens, where that is.
    :ivar no_broker: why none was reached.
    :ivar no_answers: why no containers were asked.
    """

    options: Options
    configuration: Configuration
    findings: list[Finding]
    urls: list[str] = field(default_factory=list)
    is_local: bool = False
    no_broker: str = "no broker was reached"
    no_answers: str = "the containers were not asked"
    _reached: Reached | None = None
    _answers: Answers | None = None

    @property
    def settings(self) -> Settings:
        """The settings."""
        return self.configuration.settings

    @property
    def sysname(self) -> str:
        """The system."""
        return self.settings.container.sysname

    @property
    def namespace(self) -> Namespace:
        """Its names."""
        return Namespace(self.sysname)

    @property
    def here(self) -> str:
        """The options that lead a command to the same system: `` -s NAME -b URL``."""
        words = [] if self.options.sysname is None else ["-s", self.options.sysname]
        for url in self.options.brokers:
            words += ["-b", mask_urls(url)]
        return "".join(f" {word}" for word in words)

    @property
    def broker(self) -> Reached:
        """The connection to the broker.

        :raises NotLooked: there is none.
        """
        if self._reached is None:
            raise NotLooked(self.no_broker)
        return self._reached

    @broker.setter
    def broker(self, reached: Reached) -> None:
        self._reached = reached

    @property
    def answers(self) -> Answers:
        """What the containers answered.

        :raises NotLooked: they were not asked.
        """
        if self._answers is None:
            raise NotLooked(self.no_answers if self._reached is not None else self.no_broker)
        return self._answers

    @answers.setter
    def answers(self, answers: Answers) -> None:
        self._answers = answers

    @property
    def known_infos(self) -> Sequence[Info]:
        """What the containers answered; none where they were not asked."""
        return self._answers.infos if self._answers is not None else ()

    def service_keys(self) -> list[str]:
        """Return the routing keys of the services that containers host or settings name."""
        rows = _names(self.known_infos)
        hosted = [str(row.get("key")) for row in rows if row.get("kind") == "service"]
        return sorted({*hosted, *self.settings.services})

    def lasting_queues(self) -> list[str]:
        """Return the names of the queues that hold messages of services and subscriptions."""
        rows = _names(self.known_infos)
        told = [str(row.get("queue")) for row in rows if row.get("kind") not in _CONTAINERS_OWN]
        own = [self.namespace.service_queue(key).name for key in self.service_keys()]
        return sorted({*told, *own})

    def is_replicated(self, key: str) -> bool:
        """Return whether the queues of a service are quorum queues, going by the settings here."""
        return self.settings.service_settings(service_of(key)).queue == "quorum"

    async def queue(self, name: str) -> QueueInfo | None:
        """Look at a queue; None where there is none.

        :raises Unavailable: it is another connection's alone; or no answer came.
        """
        return await self.broker.asker.queue_info(name, self.broker.timeout)


def service_of(key: str) -> str:
    """Return the service that a routing key belongs to: ``hello`` of ``hello.v2``."""
    return key.partition(".")[0]


def _names(infos: Iterable[Info]) -> list[Mapping[str, Any]]:
    return [row for info in infos for row in info.get("names") or () if isinstance(row, Mapping)]


Look = Callable[[Context], Awaitable[Iterable[Diagnosis]]]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at.

    :ivar name: for people, where it could not be looked at.
    :ivar look: returns what is wrong. It may raise NotLooked, any IonError and OSError.
    """

    name: str
    look: Look
