"""The commands that change a running system: spawn, kill, restart, drain, loglevel.

What their agents and supervisors do is asked for by
:class:`~ion.process.command.operator.Operator`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from ion.base.errors import (
    ConfigurationError,
    DeadlineExceeded,
    IonError,
    LifecycleError,
    OpNotFound,
    ProcessNotFound,
    ServiceNotFound,
    Unavailable,
)
from ion.process.command.operator import AT_ONCE, PATIENCE, Operator, agent_of
from ion.process.connection import Connection
from ion.shell import exits
from ion.shell.commandline.content import parse_content
from ion.shell.commandline.operate import is_pid
from ion.shell.commandline.options import Options
from ion.shell.commands.choosing import chosen, containers
from ion.shell.commands.nodes import node_named
from ion.shell.commands.system import Info, apps, ask
from ion.shell.render import Table, printable, show_json

GONE_WITHIN = 300.0  # seconds that a drain is waited for
LOOK_EVERY = 0.1
LOOK_WITHIN = 0.5
_LISTENS = "memory"
_STANDBY = "STANDBY"
T = TypeVar("T")


async def spawn(connection: Connection, options: Options) -> int:
    """Start a process and print its pid."""
    node = node_named(options.node, await containers(connection))
    args = parse_content(options.content)
    operator = Operator(connection)
    with _commanding():
        pid = await operator.spawn(
            node, options.subject, name=options.name, args=args, timeout=options.timeout or PATIENCE
        )
    if options.json:
        show_json({"pid": pid, "container": node})
    else:
        print(pid)
    return exits.OK


async def kill(connection: Connection, options: Options) -> int:
    """Terminate a process."""
    pid = await _pid(connection, options.subject)
    with _commanding():
        await Operator(connection).terminate(pid, timeout=options.timeout or PATIENCE)
    if options.json:
        show_json({"pid": pid, "container": _node_of(pid)})
    else:
        print(f"terminated {pid}")
    return exits.OK


async def restart(connection: Connection, options: Options) -> int:
    """Restart an app in its containers, one after another; or a process, by its supervisor."""
    work = _restart_process if is_pid(options.subject) else _restart_app
    return await work(connection, options)


async def _restart_app(connection: Connection, options: Options) -> int:
    nodes = await chosen(connection, options.node)
    infos = [info for info in await ask(connection.endpoint) if info["container"] in nodes]
    found = _running(options.subject, infos)
    silent = sorted(set(nodes) - {str(info["container"]) for info in infos})
    if not found and not silent:
        names = sorted({str(row.get("name")) for row in apps(infos)})
        message = (
            f"no container runs app {options.subject!r}; there are {', '.join(names) or 'none'}"
        )
        raise ServiceNotFound(message, type="AppNotFound", details={"apps": names})
    operator = Operator(connection)
    done: list[dict[str, str]] = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(_commanding())
        if options.json:
            stack.callback(lambda: show_json(done))  # what was done before an error, too
        for node, name in found:
            await operator.restart_app(node, name, timeout=options.timeout or PATIENCE)
            done.append({"app": name, "container": node})
            if not options.json:
                print(f"restarted {printable(name)} in {node}", flush=True)
    if silent:
        message = f"whether {options.subject!r} runs there is not known: no answer of "
        raise DeadlineExceeded(message + ", ".join(silent), details={"containers": silent})
    return exits.OK


def _running(app: str, infos: Sequence[Info]) -> list[tuple[str, str]]:
    """Return container and name of each start of an app that runs (not of those that stand by)."""
    return [
        (str(row["container"]), str(row["name"]))
        for row in apps(infos)
        if app in (str(row.get("name")), str(row.get("name")).partition("#")[0])
        and str(row.get("state")).upper() != _STANDBY
    ]


async def _restart_process(connection: Connection, options: Options) -> int:
    pid = await _pid(connection, options.subject)
    process = await connection.rpc_send(agent_of(pid), "info_of", {"pid": pid}, AT_ONCE)
    if process is None:
        message = f"there is no process {pid}: ioncc ps lists them"
        raise ProcessNotFound(message)
    supervisor = process.get("parent")
    child = await _child_id(connection, supervisor, pid) if supervisor else None
    if child is None:
        message = f"{pid} has no supervisor that could restart it: ioncc kill ends it"
        raise LifecycleError(message)
    with _commanding():
        operator = Operator(connection)
        new = await operator.restart_child(supervisor, child, timeout=options.timeout or PATIENCE)
    if options.json:
        show_json({"pid": new, "before": pid, "child": child, "supervisor": supervisor})
    else:
        print(new)
    return exits.OK


async def _child_id(connection: Connection, supervisor: str, pid: str) -> str | None:
    """Return by what id a supervisor knows a process; None where it is none, or knows none."""
    try:
        children = await connection.rpc_send(supervisor, "which_children", {}, AT_ONCE)
    except OpNotFound:
        return None
    return next((str(child["id"]) for child in children if child.get("pid") == pid), None)


async def drain(connection: Connection, options: Options) -> int:
    """Have containers stop in good order, and wait until they are gone."""
    nodes = await chosen(connection, options.node)
    infos = await ask(connection.endpoint)
    # The one whose bus the others are on goes last.
    hosts = [str(info["container"]) for info in infos if _is_host(info)]
    done: list[dict[str, Any]] = []
    with contextlib.ExitStack() as stack:
        if options.json:
            stack.callback(lambda: show_json(done))
        for wave in ([n for n in nodes if n not in hosts], [n for n in nodes if n in hosts]):
            together = [_drain(connection, node, options, is_host=node in hosts) for node in wave]
            done += await _all(together)
    return exits.OK


async def _drain(
    connection: Connection, node: str, options: Options, *, is_host: bool
) -> dict[str, Any]:
    began = time.monotonic()
    with _commanding():
        await Operator(connection).drain(node)
    if options.wait:
        await _until_gone(connection, node, options.timeout or GONE_WITHIN, is_host=is_host)
    seconds = round(time.monotonic() - began, 3)
    if not options.json:
        print(f"{node} is gone" if options.wait else f"{node} is being drained", flush=True)
    return {"container": node, "gone": options.wait, "seconds": seconds}


async def _until_gone(connection: Connection, node: str, within: float, *, is_host: bool) -> None:
    """Wait until a container has given its queue back.

    :raises DeadlineExceeded: it is still there.
    """
    try:
        async with asyncio.timeout(within):
            while await _is_there(connection, node, is_host=is_host):  # noqa: ASYNC110 - it is asked
                await asyncio.sleep(LOOK_EVERY)
    except TimeoutError:
        message = f"{node} is being drained, and still there after {within:g} s"
        raise DeadlineExceeded(message) from None


async def _is_there(connection: Connection, node: str, *, is_host: bool) -> bool:
    try:
        await connection.rpc_send(agent_of(node), "ping", {}, LOOK_WITHIN)
    except ServiceNotFound:
        return False
    except Unavailable:  # of a memory bus, nothing is left when its container has gone
        if is_host:
            return False
        raise
    except IonError:  # it has no time, or its agent has ended already
        return True
    return True


async def loglevel(connection: Connection, options: Options) -> int:
    """Show, or set, at what level containers log."""
    nodes = await chosen(connection, options.node)
    operator, level = Operator(connection), options.level or None
    within = options.timeout or AT_ONCE
    with _commanding():
        found = await _all(
            [operator.log_level(node, level, options.logger, timeout=within) for node in nodes]
        )
    rows = [
        {"container": node, "logger": options.logger, "level": now}
        for node, now in zip(nodes, found, strict=True)
    ]
    if options.json:
        show_json(rows)
    else:
        shown = [{**row, "logger": row["logger"] or "all"} for row in rows]
        Table(("container", "logger", "level"), shown).show()
    return exits.OK


async def _all(work: Sequence[Awaitable[T]]) -> list[T]:
    """Await all of it, to the end; raise the first of what went wrong."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]


@contextlib.contextmanager
def _commanding() -> Iterator[None]:
    """What is wrong with a file over there, or with the key, is no wrong usage of ``ioncc``."""
    try:
        yield
    except ConfigurationError as error:
        raise IonError(
            error.message, code=error.code, type=error.type, details=error.details
        ) from error


async def _pid(connection: Connection, word: str) -> str:
    """Return a pid whose container may be given by a beginning of its id.

    :raises ServiceNotFound: there is no such container.
    """
    _, _, number = word.partition(".")
    return f"{node_named(_node_of(word), await containers(connection))}.{number}"


def _node_of(pid: str) -> str:
    return pid.partition(".")[0]


def _is_host(info: Mapping[str, Any]) -> bool:
    return str(info.get("broker", "")).partition(":")[0] == _LISTENS
