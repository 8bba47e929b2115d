"""Which events are wanted: as the broker, the subscriber and the repository each decide it,
against a model that is nothing but the words of the docs.
"""

from __future__ import annotations

import asyncio
import fnmatch

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from ion.messaging.memory.exchange import matches, words
from ion.process.events import Event
from ion.process.events.event import content_of, path_of
from ion.process.events.replaying import Start, _asked
from ion.process.events.topics import selection, topic_of
from ion.services.events.log import EventLog
from ion.services.events.model import INDICES, Wanted, arrived, filed, query_of
from ion.stores.opening import open_datastore
from tests.process.hearing import Hurricane, Storm, Weather

TYPES = [Event, Weather, Storm, Hurricane]
TEXTS = ["", "a", "ab", "a.b", "a_2eb", "_", "é", "b a", "Storm"]
GLOBS = [None, *TEXTS, "*", "a*", "*b", "a*b", "**", "a.*", "_*", "*é*"]
NAMES = ("origin", "origin_type", "sub_type")


def made(kind: int, origin: str, origin_type: str, sub_type: str) -> Event:
    values = {"origin": origin or "o", "origin_type": origin_type, "sub_type": sub_type}
    own = {"force": 1} if issubclass(TYPES[kind], Storm) else {}
    return TYPES[kind](**values, **own, path=path_of(TYPES[kind]), created=1.0)


events = st.lists(
    st.builds(made, st.integers(0, 3), *[st.sampled_from(TEXTS)] * 3), min_size=1, max_size=12
)
wishes = st.tuples(st.sampled_from(TYPES), *[st.sampled_from(GLOBS)] * 3)


def is_like(wish: str | None, text: str) -> bool:
    return wish is None or fnmatch.fnmatchcase(text, wish.replace("[", "[[]"))


@settings(max_examples=120, deadline=None, derandomize=True, database=None)
@given(events, wishes)
def test_broker_subscriber_and_repository_agree_with_the_model(events, wish):
    of, *texts = wish
    wanted = selection(of, *texts)
    expected = []
    for number, event in enumerate(events):
        told = msgspec.structs.replace(event, id=str(number))
        model = isinstance(event, of) and all(
            is_like(text, getattr(event, name)) for name, text in zip(NAMES, texts, strict=True)
        )
        let_in = matches(words(wanted.pattern), words(topic_of(told)))
        assert wanted.takes(told) is model
        assert let_in or not model
        if not any("*" in text for text in texts if text is not None):
            assert let_in is model
        if model:
            expected.append(str(number))
    found, replayed = asyncio.run(
        of_the_repository(events, wanted, dict(zip(NAMES, texts, strict=True)))
    )
    assert set(replayed) >= set(expected)
    if found is not None:
        assert found == expected


async def of_the_repository(events, wanted, texts):
    """Return the ids that the repository finds, None where it cannot be asked so; and those that
    a replay is given, of which the subscriber takes what it wants.
    """
    datastore = open_datastore("memory://")
    await datastore.open()
    log = EventLog(await datastore.index_store("events", INDICES))
    await log.open()
    await log.append(
        [
            arrived(content_of(msgspec.structs.replace(event, id=str(number))), "", 1.0)
            for number, event in enumerate(events)
        ]
    )

    async def ids(asked: dict[str, object]) -> list[str]:
        query = query_of(Wanted(**asked), log.paths)
        page = await log.page(query) if query is not None else None
        return [filed(entry).content["id"] for entry in page.items] if page else []

    replayed = await ids(_asked(wanted, Start()))
    is_askable = not any("*" in text[:-1] for text in texts.values() if text)
    found = await ids({"type": wanted.path, **texts}) if is_askable else None
    await datastore.close()
    return found, replayed
