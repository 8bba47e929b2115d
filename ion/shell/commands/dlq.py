"""``ioncc dlq``: list, show, replay and purge dead letters; tables of them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from ion.base.errors import ServiceNotFound
from ion.base.masking import masked
from ion.messaging.address import PROCESSES
from ion.process.connection import Connection
from ion.process.endpoint.endpoint import SEND_TIMEOUT
from ion.process.redelivery.dead_letter import DeadLetter
from ion.process.redelivery.deadletters import (
    DeadLetterQueue,
    key_of,
    list_dead_letters,
    peek,
    purge,
    replay,
)
from ion.shell import exits
from ion.shell.commandline.options import Options
from ion.shell.commands.system import ANSWERS_WITHIN, Info, ask, names
from ion.shell.render import Table, local_moment, printable, show_json, to_json

SHOWN = 20
_MAX_CELL = 60  # characters of a content or a cause in a table
_WITHOUT = frozenset({"answers", "processes", "control"})  # kinds of names without dead letters

_Action = Callable[[Connection, Options], Awaitable[int]]


async def dead_letters(connection: Connection, options: Options) -> int:
    """Do what ``options`` ask for and return the exit code.

    :raises ServiceNotFound: there is no such queue, or no such message.
    :raises IonError: anything of :mod:`ion.process.redelivery.deadletters`.
    """
    return await _ACTIONS[options.action](connection, options)


def keys_of(infos: Sequence[Info], sysname: str) -> list[str]:
    """Return what containers say that they host, as keys of dead letters; processes' own last."""
    prefix = f"{sysname}."
    queues = {str(row.get("queue")) for row in names(infos) if row.get("kind") not in _WITHOUT}
    keys = sorted(queue.removeprefix(prefix) for queue in queues if queue.startswith(prefix))
    return [*keys, PROCESSES]


def queues_table(rows: Iterable[DeadLetterQueue]) -> Table:
    """Return queues of dead letters as people read them."""
    shown = [msgspec.structs.asdict(row) for row in rows]
    total = sum(row["messages"] for row in shown)
    note = f"{total} dead {'letter' if total == 1 else 'letters'}"
    return Table(("key", "messages", "queue"), shown, note)


def letters_table(letters: Sequence[DeadLetter], note: str = "") -> Table:
    """Return dead letters as people read them: a line each."""
    columns = ("id", "op", "attempt", "died", "code", "cause", "content")
    rows = [
        {
            "id": letter.message_id,
            "op": letter.op,
            "attempt": letter.attempt,
            "died": _time(letter.dead_at),
            "code": letter.cause_code,
            "cause": _cut(_cause(letter)),
            "content": _cut(content_text(letter)),
        }
        for letter in letters
    ]
    return Table(columns, rows, note)


def letter_table(letter: DeadLetter) -> Table:
    """Return one dead letter as people read it: all that is known, a line each."""
    fields = msgspec.structs.asdict(letter)
    headers = fields.pop("headers")
    fields["dead_at"] = _time(letter.dead_at)
    fields["content"] = content_text(letter)
    if not letter.undecodable:
        del fields["undecodable"], fields["body"]
    rows = [{"field": name.replace("_", " "), "value": value} for name, value in fields.items()]
    rows += [{"field": f"header {name}", "value": value} for name, value in masked(headers).items()]
    return Table(("field", "value"), rows)


def content_text(letter: DeadLetter) -> str:
    """Return the content as JSON, or why there is none."""
    if letter.undecodable:
        return f"({letter.size} bytes, {letter.undecodable})"
    return to_json(writable(letter).content)


def writable(letter: DeadLetter) -> DeadLetter:
    """Return the letter in a form that can be written as JSON: senders may send what cannot."""
    content, headers = _plain(letter.content), _plain(masked(letter.headers))
    return msgspec.structs.replace(letter, content=content, headers=headers)


def _plain(value: Any) -> Any:
    """Return a value itself where it can be written as JSON, else with texts for what cannot."""
    try:
        to_json(value)
    except (TypeError, ValueError, RecursionError, OverflowError):
        return _described(value)
    return value


def _described(value: Any) -> Any:
    try:
        if isinstance(value, Mapping):
            return {printable(str(key)): _plain(item) for key, item in value.items()}
        return printable(repr(value))
    except RecursionError:
        return f"a {type(value).__name__} that is nested too deep"


# the actions


async def _list(connection: Connection, options: Options) -> int:
    endpoint, keys = connection.endpoint, list(options.keys)
    infos: list[dict[str, Any]] = []
    if not keys:
        infos = await ask(endpoint, options.timeout or ANSWERS_WITHIN)
        keys = keys_of(infos, connection.sysname)
    rows = await list_dead_letters(endpoint, keys)
    if options.json:
        show_json(rows)
    elif rows:
        queues_table(rows).show()
    if options.keys:
        _need(connection, options.keys, rows)
    elif not infos:
        message = (
            f"no container of system {connection.sysname!r} answered: name the services whose dead "
            "letters are to be listed (-s NAME chooses the system)"
        )
        raise exits.NobodyAnswered(message)
    return exits.OK


def _need(connection: Connection, keys: Iterable[str], rows: Sequence[DeadLetterQueue]) -> None:
    found = {row.key for row in rows}
    missing = [key for key in keys if key_of(connection.endpoint.namespace, key) not in found]
    if missing:
        text = ", ".join(repr(key) for key in missing)
        message = f"there is no queue of dead letters for {text} in system {connection.sysname!r}"
        raise ServiceNotFound(message, details={"keys": missing})


async def _show(connection: Connection, options: Options) -> int:
    (key,), limit = options.keys, options.limit or SHOWN
    letters = await peek(connection.endpoint, key, limit, ids=options.ids)
    if options.json:
        show_json([writable(letter) for letter in letters])
    elif options.ids is not None:
        for letter in letters:
            letter_table(letter).show()
    else:
        rows = await list_dead_letters(connection.endpoint, [key])
        letters_table(letters, _of(len(letters), sum(row.messages for row in rows))).show()
    _need_ids(options, {letter.message_id for letter in letters})
    return exits.OK


def _of(shown: int, all_: int) -> str:
    rest = f"{shown} of {all_}" if all_ > shown else f"{shown}"
    return f"{rest} dead {'letter' if max(shown, all_) == 1 else 'letters'}"


def _need_ids(options: Options, found: set[str]) -> None:
    missing = [wanted for wanted in options.ids or () if wanted not in found]
    if missing:
        raise _no_letter(options, missing)


def _no_letter(options: Options, ids: Sequence[str]) -> ServiceNotFound:
    text = ", ".join(repr(wanted) for wanted in ids)
    message = f"{options.keys[0]!r} has no dead letter of id {text}"
    return ServiceNotFound(message, type="DeadLetterNotFound", details={"ids": list(ids)})


async def _replay(connection: Connection, options: Options) -> int:
    (key,) = options.keys
    timeout = options.timeout or SEND_TIMEOUT
    count = await replay(
        connection.endpoint, key, ids=options.ids, limit=options.limit, timeout=timeout
    )
    return _done("replayed", count, options)


async def _purge(connection: Connection, options: Options) -> int:
    (key,) = options.keys
    if not options.yes and not await _agreed(connection, options):
        print("nothing was dropped", file=sys.stderr)
        return exits.FAILED
    return _done("purged", await purge(connection.endpoint, key, ids=options.ids), options)


def _done(what: str, count: int, options: Options) -> int:
    (key,) = options.keys
    if options.json:
        show_json({"key": key, what: count})
    else:
        print(f"{what} {count} of {printable(key)}")
    if options.ids and not count:
        raise _no_letter(options, options.ids)
    return exits.OK


async def _agreed(connection: Connection, options: Options) -> bool:
    """Ask the person at the terminal whether to go on."""
    rows = await list_dead_letters(connection.endpoint, options.keys)
    _need(connection, options.keys, rows)
    ids = options.ids
    what = f"those of {len(ids)} ids" if ids else f"all {rows[0].messages}"
    question = f"Drop {what} of the dead letters of {printable(options.keys[0])} for good? [y/N] "
    print(question, end="", file=sys.stderr, flush=True)
    return (await _typed()).strip().lower() in ("y", "yes")


async def _typed() -> str:
    """Return the next line that is typed; the connection is kept up while it is awaited."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(sys.stdin.fileno())
    return sys.stdin.readline()  # a terminal gives whole lines


# cells


def _cause(letter: DeadLetter) -> str:
    words = (letter.cause_type if letter.cause_code is not None else "", letter.cause)
    return ": ".join(word for word in words if word)


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_CELL else f"{text[: _MAX_CELL - 3]}..."


def _time(epoch_ms: int | None) -> str | None:
    return None if epoch_ms is None else local_moment(epoch_ms / 1000)


_ACTIONS: dict[str, _Action] = {
    "list": _list,
    "show": _show,
    "replay": _replay,
    "purge": _purge,
}
