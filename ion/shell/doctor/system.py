"""Checks of the containers, by what they answer, and of the key that commands them."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Iterator, Sequence
from typing import Any

import msgspec

from ion.base.errors import ConfigurationError, IonError
from ion.process.command import key as keys
from ion.process.command.keyring import is_shared
from ion.process.connection import Connection, connect
from ion.shell.commands.system import ask
from ion.shell.doctor.context import Answers, Context, Info
from ion.shell.doctor.diagnosis import Diagnosis, found

NOTABLE_SKEW = 2.0  # seconds
# A container whose clock is ahead takes a question for late, and does not answer: it gets a day.
_DEADLINE = 86_400.0
_WITHIN = 2.0
_HEALTH_WITHIN = 3.0
MOST_ASKED = 200  # containers, for their health
_ACTIVE = "ACTIVE"


async def survey(context: Context) -> list[Diagnosis]:
    """Ask the containers, and put their answers on the context."""
    broker = context.broker
    if not await broker.asker.has_exchange(context.namespace.xs):
        context.no_answers = (
            f"no container of system {context.sysname!r} ever ran on vhost {broker.vhost!r}"
        )
        return []
    context.no_answers = "the containers could not be asked"
    config = msgspec.to_builtins(context.settings)
    async with connect(str(broker.url), sysname=context.sysname, config=config) as connection:
        asked = time.time()
        infos = await _infos(connection)
        answered = time.time()
        healths = await asyncio.gather(*_health_of_all(connection, infos))
    if infos:
        context.answers = Answers(infos, asked, answered, [each for each in healths if each])
    else:
        context.no_answers = f"no container of system {context.sysname!r} answered"
    return []


async def _infos(connection: Connection) -> list[dict[str, Any]]:
    try:
        async with asyncio.timeout(_WITHIN):
            return await ask(connection.endpoint, _DEADLINE)
    except TimeoutError:
        return []


def _health_of_all(connection: Connection, infos: Sequence[Info]) -> list[Awaitable[Info]]:
    """Ask containers for their health, all at once; one that cannot tell hides no other."""
    return [_health_of(connection, f"{info.get('container')}.0") for info in infos[:MOST_ASKED]]


async def _health_of(connection: Connection, agent: str) -> Info:
    try:
        async with asyncio.timeout(_HEALTH_WITHIN):
            answer = await connection.rpc_send(agent, "health", {}, _DEADLINE)
    except (IonError, TimeoutError):  # an older container has no such op
        return {}
    return answer if isinstance(answer, dict) else {}


async def clocks(context: Context) -> list[Diagnosis]:
    """The containers' clocks go as the one here does."""
    answers = context.answers
    allowed = context.settings.messaging.clock_skew
    diagnoses = []
    for info in answers.infos:
        now = info.get("now")
        if isinstance(now, int | float):
            skew = off_by(now, answers)
            diagnoses += skewed(f"the clock of {_named(info)}", skew, allowed)
    return diagnoses


def off_by(now: float, answers: Answers) -> float:
    """Return by how many seconds a clock is off, at least; over 0: it is ahead.

    :param now: what it showed at some time between question and answer.
    """
    return now - min(max(now, answers.asked), answers.answered)


def skewed(whose: str, skew: float, allowed: float) -> list[Diagnosis]:
    """Return what a clock that is off by so many seconds means."""
    if abs(skew) < NOTABLE_SKEW:
        return []
    way = "ahead of" if skew > 0 else "behind"
    message = f"{whose} is {abs(skew):.1f} s {way} the one here"
    return [found("clock" if abs(skew) > allowed else "clock-drift", message)]


async def one_system(context: Context) -> list[Diagnosis]:
    """All containers of the name have one key."""
    by_key: dict[str, list[str]] = defaultdict(list)
    for info in context.answers.infos:
        if info.get("key") and is_shared(str(info["key"])):  # others are of one container each
            by_key[str(info["key"])].append(_named(info))
    if len(by_key) < 2:  # noqa: PLR2004 - two make a difference
        return []
    listed = "; ".join(f"{key}: {', '.join(whose)}" for key, whose in sorted(by_key.items()))
    return [
        found("two-systems", f"the system {context.sysname!r} has {len(by_key)} keys: {listed}")
    ]


async def key_file(context: Context) -> list[Diagnosis]:
    """The key is here, for this user alone, and that of the containers."""
    try:
        key = await asyncio.to_thread(keys.find, context.settings.agent, context.sysname)
    except ConfigurationError as error:
        return [found("key-unusable", error.message)]
    others = {str(info["key"]): _named(info) for info in context.known_infos if info.get("key")}
    place = keys.path_of(context.settings.agent, context.sysname)
    if key is None:
        if not others:
            return []  # the first container that starts makes it
        return [found("key-missing", f"there is no key of system {context.sysname!r} at {place}")]
    if others and not any(map(key.ring.knows, others)):
        told = ", ".join(f"{one} at {whose}" for one, whose in sorted(others.items()))
        message = f"the key in {key.place} is {key.id}, but the containers' is {told}"
        return [found("key-differs", message, f"copy the containers' key file to {place}")]
    return []


async def ion_versions(context: Context) -> list[Diagnosis]:
    """All containers run one version of ION."""
    by_version: dict[str, list[str]] = defaultdict(list)
    for info in context.answers.infos:
        by_version[str(info.get("version"))].append(_named(info))
    if len(by_version) < 2:  # noqa: PLR2004 - two make a difference
        return []
    listed = "; ".join(f"{v}: {', '.join(whose)}" for v, whose in sorted(by_version.items()))
    return [found("ion-versions", f"containers run different versions of ION: {listed}")]


async def service_versions(context: Context) -> list[Diagnosis]:
    """The plain name of a service leads to one major version."""
    versions: dict[str, set[str]] = defaultdict(set)
    for info in context.answers.infos:
        for service in info.get("services") or ():
            versions[str(service.get("name"))].add(str(service.get("version")))
    return list(_ambiguous(context, versions))


def _ambiguous(context: Context, versions: dict[str, set[str]]) -> Iterator[Diagnosis]:
    for name, some in sorted(versions.items()):
        majors = {version.partition(".")[0] for version in some}
        own = context.settings.services.get(name)
        if len(majors) > 1 and (own is None or own.major is None):
            message = f"{name!r} runs as versions {', '.join(sorted(some))}, all by its plain name"
            highest = max(majors, key=lambda major: (len(major), major))
            remedy = f"set services.{name}.major: {highest} in all containers (or another one)"
            yield found("service-versions", message, remedy)


async def health(context: Context) -> list[Diagnosis]:
    """All containers are ready for work, and none of their ops is stuck."""
    answers = context.answers
    told = {health.get("container"): health for health in answers.healths}
    diagnoses: list[Diagnosis] = []
    for info in answers.infos:
        report = told.get(info.get("container"))
        if report is None or not isinstance(report.get("ready"), bool):
            if info.get("state") not in (None, _ACTIVE):
                diagnoses.append(_not_ready(info, f"{info['state']}, {info.get('reason')}"))
            continue
        if not report["ready"]:
            failed = [check for check in report.get("checks") or () if not check.get("ok", True)]
            said = "; ".join(f"{check.get('name')}: {check.get('message')}" for check in failed)
            diagnoses.append(_not_ready(info, said or "it does not say why"))
        diagnoses += [_stuck(info, op) for op in report.get("stuck") or ()]
    return diagnoses


def _not_ready(info: Info, why: str) -> Diagnosis:
    return found("not-ready", f"{_named(info)} is not ready: {why}")


def _stuck(info: Info, op: Info) -> Diagnosis:
    seconds = op.get("seconds", 0.0)
    who = f"op {op.get('op')!r} of {op.get('name')} ({op.get('pid')}) on {info.get('host')}"
    return found("stuck-op", f"{who} has run for {seconds:.0f} s")


def _named(info: Info) -> str:
    return f"container {info.get('container')} on {info.get('host')}"
