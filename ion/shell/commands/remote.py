"""The commands against a running system: ask its containers, or call its services, over the bus.

Results go to standard output, errors to standard error (as one line, or as JSON for programs).
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec

from ion.base.errors import IonError, Unavailable
from ion.messaging import runtime_file
from ion.observe.logging import hush_library
from ion.process.connection import Connection, connect
from ion.process.identity.identity import SYSTEM
from ion.shell import exits
from ion.shell.advice import advise, is_about_nobody
from ion.shell.commandline import call as callwords
from ion.shell.commandline.attach import ATTACH
from ion.shell.commandline.dlq import DLQ
from ion.shell.commandline.options import Options
from ion.shell.commands import call as calling
from ion.shell.commands import steering
from ion.shell.commands.config import BROKER, check_urls, read_settings
from ion.shell.commands.dlq import dead_letters
from ion.shell.commands.health import HEALTH, health
from ion.shell.commands.nodes import need_some
from ion.shell.commands.printing import quietly
from ion.shell.commands.system import ANSWERS_WITHIN, LISTINGS, ask
from ion.shell.commands.tail import tail
from ion.shell.commands.top import top
from ion.shell.render import printable, show_json, to_json

_Command = Callable[[Connection, Options], Awaitable[int]]
MEMORY = "memory"
LOCAL = "local://"
_AS_TOLD = (callwords.CALL, callwords.SEND)  # what an op does, it does for whom the words say
_QUIET = ("tail", "top", "drain")  # they tell themselves what becomes of their connection


def prepare(options: Options) -> int:
    """Read what is to be sent, and return an exit code. Blocks: there is no loop yet, which would
    take the first Ctrl-C for itself while standard input has nothing to read.
    """
    try:
        if options.command in callwords.DESCRIPTIONS:
            calling.prepare(options)
    except IonError as error:
        _show_error(error, options)
        return exits.code_of(error)
    return exits.OK


async def run(options: Options) -> int:
    """Run the command that ``options`` name and return its exit code."""
    command = _COMMANDS[options.command]
    hush_library()
    try:
        with quietly() if options.command in _QUIET else contextlib.nullcontext():
            return await _ask(command, options)
    except IonError as error:
        _show_error(advise(error), options)
        return exits.code_of(error)


async def _ask(command: _Command, options: Options) -> int:
    """Run a command; one that looks at the containers, or commands them, as the system where
    nobody else is let in, and its key is at hand: with that it may do all of it anyway.
    """
    try:
        async with _connected(options) as connection:
            return await command(connection, options)
    except IonError as error:
        if options.command in _AS_TOLD or not is_about_nobody(error):
            raise
        refused = error
    async with contextlib.AsyncExitStack() as stack:
        try:
            connection = await stack.enter_async_context(_connected(options, SYSTEM))
        except IonError:  # without the key, or what makes tokens: the refusal says what helps
            raise refused from None
        return await command(connection, options)


@contextlib.asynccontextmanager
async def _connected(options: Options, token: str | None = None) -> AsyncIterator[Connection]:
    """Connect to the broker that settings and options name; for a memory bus, to where it listens.

    :param token: in the place of that of the settings.
    :raises Unavailable: it is away; or it is a memory bus, and does not listen.
    :raises ConfigurationError: a setting is wrong; the message says where it came from.
    """
    configuration = read_settings(options)
    check_urls(configuration, BROKER)
    settings = configuration.settings
    urls = settings.broker.urls
    sysname = settings.container.sysname
    if any(url.partition(":")[0] == MEMORY for url in urls):
        await _look_for(sysname)
        urls = [LOCAL]
    config = msgspec.to_builtins(settings)
    async with connect(urls, sysname=sysname, config=config, token=token) as connection:
        yield connection


async def _look_for(sysname: str) -> None:
    """Find out whether the memory bus of a system listens on this machine.

    :raises Unavailable: it does not.
    """
    try:
        await asyncio.to_thread(runtime_file.find, sysname)
    except Unavailable as error:
        message = (
            f"memory:// is private to one OS process, and {error.message}, or give the broker that "
            "the system runs on, -b amqp://user:pass@host:port/vhost"
        )
        raise Unavailable(message) from error


async def _list(connection: Connection, options: Options) -> int:
    within = options.timeout or ANSWERS_WITHIN
    infos = await ask(connection.endpoint, within)
    listing = LISTINGS[options.command]
    if options.json:
        show_json(listing.rows(infos))
    elif infos:
        listing.table(infos).show()
    await need_some(infos, connection, within)
    return exits.OK


async def _attach(connection: Connection, options: Options) -> int:
    from ion.shell.prompt.attach import attach  # brings the prompt, which takes long to load

    return await attach(connection, options)


def _show_error(error: IonError, options: Options) -> None:
    if options.json:
        print(to_json(error.as_content()), file=sys.stderr)
    else:
        print(f"ioncc {options.command}: {_told(error)}", file=sys.stderr)


def _told(error: IonError) -> str:
    words = printable(exits.one_line(error))
    return words if type(error) is exits.NobodyAnswered else f"{error.type} ({error.code}): {words}"


_COMMANDS: dict[str, _Command] = {
    **dict.fromkeys(LISTINGS, _list),
    callwords.CALL: calling.call,
    callwords.SEND: calling.send,
    DLQ: dead_letters,
    ATTACH: _attach,
    HEALTH: health,
    "tail": tail,
    "top": top,
    "spawn": steering.spawn,
    "kill": steering.kill,
    "restart": steering.restart,
    "drain": steering.drain,
    "loglevel": steering.loglevel,
}
