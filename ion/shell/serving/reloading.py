"""What SIGHUP asks of a container that serves: to read its rules, keys and settings again.

Rules are taken, the keys that it has and believes (their files are read in any case), and what is
to be logged; other settings hold from the next start on, and are named where they have changed.
What is wrong changes nothing. Each time the log says what was taken, or why not.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from ion.base.errors import ConfigurationError, IonError
from ion.container.key_rotation import renew_keys
from ion.process.policy.keeper import PolicyKeeper
from ion.shell.commands.config import read_settings
from ion.shell.serving.signals import StopSignals

if TYPE_CHECKING:
    from collections.abc import Callable

    from ion.base.settings import LoggingSettings, Settings
    from ion.container.container import Container
    from ion.shell.commandline.options import Options

log = logging.getLogger(__name__)
_AGENT = ("key", "key_file", "own_key_file", "trusted_keys")
_KEYS = ("identity.keys", "identity.keys_file", *(f"agent.{name}" for name in _AGENT))


async def reload_when_told(
    container: Container,
    options: Options,
    stops: StopSignals,
    apply: Callable[[LoggingSettings], None],
) -> None:
    """Reload each time that SIGHUP comes, until this is cancelled.

    :param apply: takes what is said of logging.
    """
    while True:
        await stops.reloading.wait()
        stops.reloading.clear()
        try:
            await _reload_settings(container, options, apply)
            await _reload_rules(container)
        except Exception:  # the task would end, and the next SIGHUP do nothing
            log.exception("reloading failed")


async def _reload_settings(
    container: Container, options: Options, apply: Callable[[LoggingSettings], None]
) -> None:
    try:
        fresh = (await asyncio.to_thread(read_settings, options)).settings
    except ConfigurationError as error:
        log.warning("SIGHUP: the settings stay as they are: what they would be is wrong: %s", error)
        return
    held, asked = (set(_leaves(each)) for each in (container.settings, fresh))
    changed = sorted({key for key, _ in held ^ asked})
    keys = await _reload_keys(container, fresh)
    taken = [key for key in changed if key.startswith("logging.") or key in keys]
    left = [key for key in changed if key not in taken]
    if any(key.startswith("logging.") for key in taken):
        apply(fresh.logging)
    held_now = msgspec.structs.replace(container.settings, logging=fresh.logging)
    if keys:
        identity = container.endpoint.auth.settings
        held_now = msgspec.structs.replace(held_now, agent=fresh.agent, identity=identity)
    container.settings = held_now
    what = f"took {', '.join(taken)}" if taken else "nothing to take"
    log.info("SIGHUP: read the settings again: %s", what)
    if left:
        log.warning("SIGHUP: changed, and to hold from the next start on: %s", ", ".join(left))


async def _reload_keys(container: Container, fresh: Settings) -> tuple[str, ...]:
    """Take the keys; return the settings that are taken with them, or none where one is wrong."""
    try:
        await renew_keys(container, fresh)
    except IonError as error:
        log.error("SIGHUP: the keys stay as they are: %s", error)  # noqa: TRY400 - no fault here
        return ()
    permission = container.endpoint.permission
    key = permission.key if permission is not None else None
    log.info("SIGHUP: the keys were read again; this container's is %s", key.id if key else "none")
    return _KEYS


def _leaves(settings: Settings) -> Iterator[tuple[str, str]]:
    """Give each setting with a word that is another one where it has another value."""
    for section, values in msgspec.to_builtins(settings).items():
        for key, value in values.items():
            yield f"{section}.{key}", repr(value)


async def _reload_rules(container: Container) -> None:
    active_rules = container.active_rules
    if active_rules is None:
        return
    keepers = [each for each in container.processes.values() if isinstance(each, PolicyKeeper)]
    try:
        for keeper in keepers:
            await keeper.reload()
    except IonError as error:  # the broker is away; a file was read all the same
        log.warning("SIGHUP: not all of policy was looked after: %s", error)
    told: dict[str, Any] = active_rules.describe()
    level = logging.ERROR if told["problem"] else logging.INFO
    why = f"; the new ones are wrong: {told['problem']}" if told["problem"] else ""
    source = told["source"] or "no file"
    log.log(level, "SIGHUP: %d rules of %s are in force%s", told["rules"], source, why)
