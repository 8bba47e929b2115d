"""Reach the broker, and say what stands in the way."""

from __future__ import annotations

import asyncio
from shlex import quote

from yarl import URL

from ion.base.errors import ConfigurationError, Unavailable
from ion.messaging import runtime_file
from ion.messaging.amqp import failures
from ion.messaging.opening import scheme_of
from ion.shell.doctor import remedies
from ion.shell.doctor.context import Context, NotLooked
from ion.shell.doctor.diagnosis import Diagnosis, found
from ion.shell.doctor.reach import Reached, is_loopback, parsed, reach

MEMORY, LOCAL = "memory", "local"
AMQP_PORT, AMQPS_PORT = 5672, 5671
_HTTP_WITHIN = 1.0
_CODES = {
    failures.LOGIN: "broker-login",
    failures.NO_VHOST: "broker-vhost",
    failures.VHOST: "broker-access",
    failures.CLOSED: "broker-closed",
    failures.FOREIGN: "broker-foreign",
    failures.TLS: "broker-tls",
    failures.NOBODY: "broker-refused",
    failures.NO_HOST: "broker-host",
    failures.SILENT: "broker-silent",
}


async def connect(context: Context) -> list[Diagnosis]:
    """Keep the first broker that can be reached; tell of those that cannot."""
    diagnoses = await _find_bus(context)
    for text in context.urls:
        try:
            url = parsed(text, context.settings.broker.heartbeat)
        except ConfigurationError as error:
            diagnoses.append(found("broker-url", error.message))
            continue
        try:
            reached = await reach(url, context.settings.broker.tls)
        except Unavailable as error:
            diagnoses.append(await _told(url, error))
            continue
        except ConfigurationError as error:
            diagnoses.append(found("broker-tls", error.message))
            continue
        await _keep(context, reached)
    return diagnoses


async def _keep(context: Context, reached: Reached) -> None:
    try:
        _ = context.broker
    except NotLooked:
        context.broker = reached
    else:
        await reached.close()  # it was only to be seen whether it is there


async def _find_bus(context: Context) -> list[Diagnosis]:
    """Work out the URLs; those of a memory bus are where it listens."""
    try:
        schemes = {scheme_of(url) for url in context.settings.broker.urls}
    except ConfigurationError as error:
        context.no_broker = "the broker's URL is none"
        return [found("broker-url", error.message)]
    if not schemes & {MEMORY, LOCAL}:
        context.urls = context.settings.broker.urls
        return []
    if schemes - {MEMORY, LOCAL}:
        context.no_broker = "the broker's URLs are of different kinds"
        return [found("broker-url", f"{context.no_broker}: {', '.join(sorted(schemes))}")]
    context.is_local = True
    try:
        context.urls = [(await asyncio.to_thread(runtime_file.find, context.sysname)).url]
    except Unavailable as error:
        context.no_broker = "there is no broker, and no container listens on this machine"
        return [_nobody_listens(context, error)]
    return []


def _nobody_listens(context: Context, error: Unavailable) -> Diagnosis:
    one = context.configuration.explain("broker.url")
    message = f"the broker is {one.value} (from {one.origin}), and {error.message}"
    remedy = (
        f"ioncc -s {context.sysname} --listen ...   or, with RabbitMQ, in every shell: "
        "export ION_BROKER=amqp://USER:PASSWORD@HOST/"
    )
    return found("private-bus", message, remedy)


async def _told(url: URL, error: Unavailable) -> Diagnosis:
    """Return what a failed connect means."""
    cause = str(error.details.get("cause", failures.CLOSED))
    if cause in (failures.FOREIGN, failures.SILENT, failures.CLOSED) and await _is_web(url):
        message = f"a web server answers at {url.host}:{url.port}, not a broker"
        return found("broker-foreign", message, _right_port(url))
    code = _CODES.get(cause, "broker-closed")
    if cause == failures.LOGIN and url.user in (None, "guest") and not await _is_near(url):
        code = "guest-refused"
    return found(code, error.message, _remedy(code, url, error.message))


def _remedy(code: str, url: URL, said: str) -> str:
    user, vhost = url.user or "guest", url.path[1:] or "/"
    if code == "broker-tls" and "WRONG_VERSION" in said:
        return (
            f"amqp:// and port {AMQP_PORT} where the broker has no TLS; amqps:// and its TLS port"
        )
    return {
        "broker-refused": f"systemctl start rabbitmq-server   (on {url.host})",
        "broker-login": f"rabbitmqctl change_password {quote(user)} PASSWORD",
        "guest-refused": remedies.own_user(vhost),
        "broker-vhost": f"rabbitmqctl add_vhost {quote(vhost)}; {remedies.permit(vhost, user)}",
        "broker-access": remedies.permit(vhost, user),
        "broker-foreign": _right_port(url),
    }.get(code, "")


def _right_port(url: URL) -> str:
    port = AMQPS_PORT if url.scheme == "amqps" else AMQP_PORT
    return f"{url.scheme}://USER:PASSWORD@{url.host}:{port}/"


async def _is_near(url: URL) -> bool:
    return await asyncio.to_thread(is_loopback, url.host or "")


async def _is_web(url: URL) -> bool:
    """Tell whether what listens there speaks HTTP."""
    port = url.port or (AMQPS_PORT if url.scheme == "amqps" else AMQP_PORT)
    try:
        async with asyncio.timeout(_HTTP_WITHIN):
            reader, writer = await asyncio.open_connection(url.host, port)
            try:
                writer.write(b"HEAD / HTTP/1.0\r\n\r\n")
                return (await reader.read(5)).startswith(b"HTTP/")
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
