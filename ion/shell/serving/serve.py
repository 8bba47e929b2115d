"""Start a container and what it should run, and stay until it is told to stop.

The order: lock file, settings, container, apps and rels as given, ready line, lock file given
back; then the shell, or the wait for a signal; then the drain. A start that fails says why in one
line, stops what it had started, and is exit code 1.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TextIO, cast

from ion.base.errors import IonError, StartError
from ion.base.settings import LoggingSettings
from ion.container.apps.app import load_app
from ion.container.apps.lookup import APP, find
from ion.container.container import Container
from ion.observe.logging import set_up
from ion.observe.tailing import keep_recent
from ion.shell import exits
from ion.shell.commandline.arguments import AppArguments
from ion.shell.commandline.options import Options
from ion.shell.commands.config import BROKER, check_urls, read_settings
from ion.shell.serving.lockfile import LockFile
from ion.shell.serving.reloading import reload_when_told
from ion.shell.serving.signals import StopSignals

log = logging.getLogger(__name__)


async def serve(options: Options) -> int:
    """Run a container as ``options`` say; return the exit code."""
    with StopSignals(reloads=True) as stops:
        try:
            await _serve(options, stops)
        except IonError as error:
            print(f"ioncc: {exits.one_line(error)}", file=sys.stderr)
            return exits.FAILED
    return exits.OK


async def _serve(options: Options, stops: StopSignals) -> None:
    lock = LockFile(options.lockfile) if options.lockfile else None
    async with _started(options, stops) as container:
        line = ready_line(container)
        if lock is not None:
            lock.note(line)
        print(line, file=sys.stderr, flush=True)
        if lock is not None:
            lock.release()
        watch = asyncio.create_task(_follow(container, stops), name="ioncc follow")
        reloading = reload_when_told(container, options, stops, _log_by)
        reload = asyncio.create_task(reloading, name="ioncc reload")
        try:
            await _stay(container, options, stops)
        finally:
            watch.cancel()
            reload.cancel()
        stops.stop()  # the next signal is the second one: it ends the drain at once
    if container.failure:
        raise IonError(container.failure)


@contextlib.asynccontextmanager
async def _started(options: Options, stops: StopSignals) -> AsyncIterator[Container]:
    """Give a container with everything up; on leaving, drain and stop it.

    :raises IonError: something did not come up; what had been started is stopped then.
    """
    container = _container(options)
    container.undoes = container.claims_store = True
    try:
        try:
            await _unless_stopped(_bring_up(container, options), stops)
        except IonError as error:
            if container.failure:  # an app has ended while another one was starting
                raise StartError(container.failure) from error
            raise
        container.undoes = False
        yield container
    finally:
        await container.stop()


def _container(options: Options) -> Container:
    """Return a container with the settings of the command line, not started yet."""
    configuration = read_settings(options)
    check_urls(configuration, BROKER)
    _log_by(configuration.settings.logging)
    keep_recent()
    for name in configuration.unknown_variables:
        log.info("environment %s means nothing to ION: misspelt?", name)
    return Container(settings=configuration.settings)


def _log_by(settings: LoggingSettings) -> None:
    set_up(settings, cast(TextIO, _CurrentStderr()))


async def _bring_up(container: Container, options: Options) -> None:
    """Start the container, then every app and rel in the order given."""
    arguments = AppArguments(options.args)
    found = [find(word) for word in options.start]  # a misspelt one is told before any is started
    await container.start()
    for path in found:
        if path.suffix == APP:
            own = arguments.of(load_app(path).name)
            await container.start_app(path, args=own, args_of=arguments.by_app)
        else:
            await container.start_rel(path, args=arguments.by_app)
    if arguments.general and not any(path.suffix == APP for path in found):
        keys = ", ".join(arguments.general)
        log.warning("-a %s: no app is named here; say apparg_<app>.<key>=value to reach one", keys)
    for name in sorted(set(arguments.by_app) - set(container.apps)):
        log.warning("-a apparg_%s...: no app of that name was started", name)


async def _unless_stopped(start: Coroutine[Any, Any, None], stops: StopSignals) -> None:
    """Await ``start``; a signal cancels it.

    :raises StartError: a signal came before it was complete.
    """
    starting = asyncio.create_task(start, name="ioncc start")
    stopped = asyncio.create_task(stops.stopping.wait(), name="ioncc stop")
    try:
        await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            message = "told to stop before the start was complete"
            raise StartError(message)
        await starting
    finally:
        stopped.cancel()
        starting.cancel()
        await asyncio.wait({starting})


async def _stay(container: Container, options: Options, stops: StopSignals) -> None:
    """Run the shell on a terminal (one that shows what is printed, too), else await a signal."""
    if options.no_shell or not (sys.stdin.isatty() and sys.stdout.isatty()):
        await stops.stopping.wait()
        return
    from ion.shell.prompt.repl import run_shell

    await run_shell(container, stops, keep_history=not options.no_history)
    print(f"stopping {container.id}; Ctrl-C ends it at once", file=sys.stderr)


async def _follow(container: Container, stops: StopSignals) -> None:
    """Stop when the container does so by itself."""
    await container.gave_up.wait()
    stops.stop()


def ready_line(container: Container) -> str:
    """Return the line that says that everything is up (a fixed point for launchers)."""
    return (
        f"ready {container.id} sysname={container.sysname} broker={container.transport.scheme} "
        f"apps={len(container.apps)} processes={len(container.processes)}"
    )


class _CurrentStderr:
    """Standard error as it is when a line is logged: the shell's prompt puts its own in place."""

    def write(self, text: str) -> int:
        """Write ``text``."""
        return sys.stderr.write(text)

    def flush(self) -> None:
        """Flush."""
        sys.stderr.flush()
