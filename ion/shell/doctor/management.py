"""What RabbitMQ's management interface tells beyond AMQP, where it answers; it never has to."""

from __future__ import annotations

import asyncio
import base64
import email.utils
import http.client
import json
import re
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from yarl import URL

from ion.shell.doctor import remedies
from ion.shell.doctor.context import Answers, Context, NotLooked
from ion.shell.doctor.diagnosis import Diagnosis, found
from ion.shell.doctor.system import off_by, skewed

PORT, TLS_PORT = 15672, 15671
_WITHIN = 2.0
_OK, _UNAUTHORIZED = 200, 401
_MAX_BYTES = 32 << 20
_POLICY_LIMITS = {"expires", "max-length", "max-length-bytes"}
_LIMITS = {f"x-{limit}" for limit in _POLICY_LIMITS} | _POLICY_LIMITS
_SUBSCRIPTION = re.compile(r"(?:xs\.([^.]+)\.)?sub\.([^.]+)\.([^.]+)")  # see Namespace


@dataclass(frozen=True, slots=True)
class Told:
    """An answer of the management interface: the queues of a vhost, and the broker's time."""

    queues: list[dict[str, Any]]
    now: float | None
    asked: float
    answered: float


async def look(context: Context) -> list[Diagnosis]:
    """The broker's clock goes as the one here; queues of the system that nobody consumes end."""
    url = context.broker.url
    if context.is_local:
        return []
    try:
        told = await asyncio.to_thread(ask, url)
    except (OSError, http.client.HTTPException, ValueError) as error:
        message = f"RabbitMQ's management does not answer (it need not): {error}"
        raise NotLooked(message) from error
    diagnoses = []
    if told.now is not None:
        skew = off_by(told.now, Answers((), told.asked, told.answered))
        allowed = context.settings.messaging.clock_skew
        diagnoses += skewed(f"the clock of the broker on {url.host}", skew, allowed)
    return [*diagnoses, *unlimited(context, told.queues), *forsaken(context, told.queues)]


def ask(url: URL, port: int | None = None) -> Told:
    """Ask for all queues of the URL's vhost.

    The login goes over plain HTTP only where it went over plain AMQP.

    :raises OSError: nobody is there.
    :raises HTTPException: what is there does not speak HTTP.
    :raises ValueError: it does not tell.
    """
    host = url.host or ""
    if url.scheme == "amqps":
        line: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, port or TLS_PORT, timeout=_WITHIN
        )
    else:
        line = http.client.HTTPConnection(host, port or PORT, timeout=_WITHIN)
    login = f"{url.user or 'guest'}:{url.password or 'guest'}".encode()
    headers = {"Authorization": f"Basic {base64.b64encode(login).decode()}"}
    asked = time.time()
    try:
        line.request("GET", f"/api/queues/{quote(url.path[1:] or '/', safe='')}", headers=headers)
        response = line.getresponse()
        if response.status != _OK:
            message = f"it says {response.status} {response.reason}"
            raise ValueError(message)
        queues = json.loads(response.read(_MAX_BYTES))
        date = response.getheader("Date", "")
    finally:
        line.close()
    if not isinstance(queues, list):
        message = "it lists no queues"
        raise ValueError(message)  # noqa: TRY004 - what it says is wrong, not its type
    now = email.utils.parsedate_to_datetime(date).timestamp() if date else None
    return Told([q for q in queues if isinstance(q, dict)], now, asked, time.time())


def unlimited(context: Context, queues: list[dict[str, Any]]) -> list[Diagnosis]:
    """Return the queues of the system that nobody consumes, and that have no limit."""
    prefix = f"{context.sysname}."
    diagnoses = []
    for queue in queues:
        name = str(queue.get("name", ""))
        ours = name.startswith(prefix) and not queue.get("exclusive")
        if not ours or queue.get("consumers", 0) or _is_limited(queue):
            continue
        waiting = queue.get("messages", 0)
        message = f"the queue {name!r} has no limit and no consumer ({waiting} messages)"
        remedy = remedies.delete_queue(context.broker.vhost, name)
        diagnoses.append(found("queue-unlimited", message, remedy))
    return diagnoses


def forsaken(context: Context, queues: list[dict[str, Any]]) -> list[Diagnosis]:
    """Return the durable subscriptions that collect for nobody, and do not end by themselves."""
    diagnoses = []
    for queue in queues:
        name, waiting = str(queue.get("name", "")), queue.get("messages", 0)
        subscription = _SUBSCRIPTION.fullmatch(name.removeprefix(f"{context.sysname}."))
        if subscription is None or not name.startswith(f"{context.sysname}."):
            continue
        if queue.get("consumers", 0) or not waiting or _limits(queue) & {"x-expires", "expires"}:
            continue
        space, point, shared = subscription.groups()
        where = f"{space}/{point}" if space else point
        message = (
            f"nobody consumes the durable subscription {shared!r} to {where!r} ({name!r}), where "
            f"{waiting} messages wait"
        )
        remedy = remedies.delete_queue(context.broker.vhost, name)
        diagnoses.append(found("subscription-unconsumed", message, remedy))
    return diagnoses


def _is_limited(queue: dict[str, Any]) -> bool:
    return not _LIMITS.isdisjoint(_limits(queue))


def _limits(queue: dict[str, Any]) -> set[str]:
    """Return the names of what a queue's arguments and policy set."""
    return {*(queue.get("arguments") or {}), *(queue.get("effective_policy_definition") or {})}
