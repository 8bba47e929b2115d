"""The rules of one container, where they come from, and what is wrong with them.

What holds: a container does not start with rules that cannot be read; once it runs, rules that
cannot be read change nothing. Where rules are to come from the service ``policy`` and there are
none yet, nothing is allowed, whatever the default.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ion.base.errors import ConfigurationError
from ion.base.resources import resource_folder
from ion.base.settings import PolicySettings
from ion.process.endpoint.endpoint import Endpoint
from ion.process.policy import reading
from ion.process.policy.decision_log import DecisionLog
from ion.process.policy.decisions import Judge
from ion.process.policy.facts import GivenFacts
from ion.process.policy.interceptor import PolicyInterceptor
from ion.process.policy.model import DENY, Decision, Rules, Subject
from ion.process.policy.owners import Owners
from ion.process.process import Process

log = logging.getLogger("ion.policy")
Mark = tuple[int, int, int]


class ActiveRules:
    """The rules that one container decides by.

    :param processes: pid -> process, of the container.
    :ivar interceptor: the interceptor, once :meth:`begin` was called.
    :ivar version: of the rules, where the service ``policy`` has given them; else 0.
    :ivar problem: what is wrong with rules that were to be taken; "": nothing.
    """

    def __init__(
        self, settings: PolicySettings, endpoint: Endpoint, processes: Mapping[str, Process]
    ) -> None:
        self.settings = settings
        self.version = 0
        self.problem = ""
        self.since = time.time()
        self.owners = Owners()
        self.decision_log = DecisionLog(endpoint.counts)
        default = DENY if settings.service else settings.default
        self.interceptor = PolicyInterceptor(
            Judge(Rules(), default), processes, self.decision_log, self.owners
        )
        self._endpoint = endpoint
        self._path = str(_found(settings.file)) if settings.file is not None else None
        self._mark: Mark | None = None

    async def begin(self) -> None:
        """Read the file, and decide on all that arrives from now on.

        :raises ConfigurationError: the file cannot be read, or its rules are wrong.
        """
        if self._path is not None:
            self._mark = await asyncio.to_thread(_mark_of, self._path)
            await self._take(await asyncio.to_thread(reading.read, self._path))
        if self._endpoint.auth.mode in ("off", "hint"):
            log.warning(
                "identity.verify is %r: to the rules, who has no token that was checked is "
                "anonymous, and the containers have none of their own; set it to 'present'",
                self._endpoint.auth.mode,
            )
        self._endpoint.use_inbound((*self._endpoint.inbound, self.interceptor))

    async def look(self, *, again: bool = False) -> bool:
        """Read the file where it has changed; return whether there are other rules now.

        What is wrong with it is logged, once, and the old rules stay in force.

        :param again: read it in any case.
        """
        path = self._path
        if path is None or self.version:
            return False
        try:
            mark = await asyncio.to_thread(_mark_of, path)
            if mark == self._mark and not again:
                return False
            self._mark = mark
            read = await asyncio.to_thread(reading.read, path)
        except ConfigurationError as error:
            self.refuse(error)
            return False
        await self._take(read)
        return True

    async def take(self, text: str, version: int) -> None:
        """Decide by the rules of the service ``policy`` from now on.

        :raises ConfigurationError: they are wrong; the old ones stay in force.
        """
        read = await asyncio.to_thread(reading.parse, text, f"policy version {version}")
        await self._take(read)
        self.version = version

    def refuse(self, error: ConfigurationError) -> None:
        """Note that there are rules that are not to be taken."""
        if error.message != self.problem:
            self.problem = error.message
            log.error("the old rules stay in force, as the new ones are wrong: %s", error)

    async def _take(self, read: reading.Read) -> None:
        for finding in read.warnings:
            log.warning("%s", finding)
        self.interceptor.use(await asyncio.to_thread(Judge, read.rules, self.settings.default))
        self.problem = ""
        self.since = time.time()
        source, default = read.rules.source, self.settings.default
        log.info("%d rules of %s in force, default %s", len(read.rules.rules), source, default)

    def count(self) -> None:
        """Add what was allowed to the counts of the container."""
        self.decision_log.count(self.interceptor.allowed)
        self.interceptor.allowed = 0

    @property
    def uses_owners(self) -> bool:
        """Whether a rule asks who owns something."""
        return any(rule.when is not None and rule.when.owner for rule in self.rules.rules)

    @property
    def rules(self) -> Rules:
        """The rules in force."""
        return self.interceptor.judge.rules

    def explain(self, subject: Subject, action: str, content: Any) -> Decision:
        """Return what would be decided, without doing anything else."""
        return self.interceptor.judge.consider(subject, action, GivenFacts(content, self.owners))

    def describe(self) -> dict[str, Any]:
        """Return where the rules come from, and how many there are, as plain data."""
        return {
            "source": self.rules.source,
            "version": self.version,
            "rules": len(self.rules.rules),
            "roles": {role: list(included) for role, included in self.rules.roles.items()},
            "default": self.interceptor.judge.default,
            "since": self.since,
            "problem": self.problem,
            "owners": len(self.owners),
        }


def _found(file: str) -> Path:
    """Return where a file of rules is: as it is named, or among those installed with ION."""
    path = Path(file).expanduser()
    if path.is_absolute() or path.exists():
        return path
    installed = resource_folder().parent / path
    return installed if installed.is_file() else path


def _mark_of(path: str) -> Mark | None:
    """Return what changes when a file does; None: it is not there."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
