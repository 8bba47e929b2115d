"""A client that wants a range of versions reaches those that match, and no others."""

from __future__ import annotations

import asyncio

import pytest

import ion
from ion import ConfigurationError, Container, Process, Service, ServiceClient, ServiceNotFound
from ion.process import versions
from ion.process.versions import Instance, choose, range_of


def at(version: str, n: int = 1, *, keys: list[str] | None = None, taking: bool = True) -> Instance:
    major = int(version.partition(".")[0])
    own = ["s", f"s.v{major}"] if major else ["s"]
    return Instance(f"c.{n}", version, own if keys is None else keys, taking)


@pytest.mark.parametrize(
    ("there", "wanted", "keys"),
    [
        ([], ">=1", []),
        ([at("1.2.0"), at("2.0.0", 2)], ">=1.2,<3", ["s.v2"]),
        ([at("1.2.0"), at("2.0.0", 2)], ">=1.2,<2", ["s.v1"]),
        ([at("1.2.0"), at("2.0.0", 2)], ">=3", []),
        ([at("2.0.0"), at("2.3.0", 2), at("2.4.1", 3)], ">=2.1", ["c.2", "c.3"]),
        ([at("1.9.0"), at("2.0.0", 2), at("2.3.0", 3)], "<=2.0", ["c.2"]),
        ([at("0.3.1"), at("0.4.0", 2)], ">=0.3", ["s"]),
        ([at("0.3.1"), at("0.4.0", 2)], "~=0.4", ["c.2"]),
        ([at("0.3.1"), at("1.0.0", 2)], "<1", ["c.1"]),  # the plain name goes to both
        ([at("0.3.1"), at("1.0.0", 2, keys=["s.v1"])], "<1", ["s"]),
        ([at("0.3.1", keys=[])], "<1", ["c.1"]),  # the plain name goes to another major
        ([at("2.0.0", taking=False), at("2.1.0", 2)], ">=2", ["s.v2"]),
        ([at("2.0.0", taking=False), at("2.1.0", 2)], ">=2.1", ["s.v2"]),
        ([at("2.0.0", taking=False)], ">=2", []),
        ([at("2.0.0rc1")], ">=1", []),
        ([at("2.0.0rc1")], ">=2.0.0rc0", ["s.v2"]),
        ([at("1.0.0-x.7"), at("1.1.0", 2)], ">=1", ["c.2"]),  # no version that can be compared
        ([Instance("c.1", "x", ["s"])], ">=0", []),
    ],
)
def test_the_choice(there: list[Instance], wanted: str, keys: list[str]) -> None:
    assert choose("s", there, range_of(wanted)) == keys


@pytest.mark.parametrize("text", ["", " ", "1.2", "^1.2", "~1", ">=1 <2", "new", "*"])
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r">=1\.2,<3"):
        range_of(text)


def test_what_answers_strangely_is_passed_over() -> None:
    pongs = [None, 5, {}, {"pong": "pong", "pid": "c.1"}, {"pid": "c.2", "version": "1.0.0"}]
    assert versions.instances(pongs) == [Instance("c.2", "1.0.0")]


class Teller(Service, name="teller"):
    async def op_version(self) -> str:
        return self.version

    async def op_count(self, to: int):
        for number in range(to):
            yield f"{self.version} {number}"


class Old(Teller, version="1.4.0"): ...


class New(Teller, version="2.0.0"): ...


class Newer(Teller, version="2.3.0"): ...


class Newest(Teller, version="3.1.0"): ...


@pytest.fixture
async def four(container: Container, other: Container) -> dict[str, str]:
    return {
        "1.4.0": await container.spawn(Old),
        "2.0.0": await container.spawn(New),
        "2.3.0": await other.spawn(Newer),
        "3.1.0": await other.spawn(Newest),
    }


async def heard(client: ServiceClient, times: int = 4) -> set[str]:
    return {await client.version() for _ in range(times)}


async def test_versions_side_by_side(
    bus: tuple[str, dict[str, object]], container: Container, four: dict[str, str]
) -> None:
    url, config = bus
    async with ion.connect(url, sysname="test", config=config) as connection:
        for wanted, told in {
            ">=1.2,<2": {"1.4.0"},
            ">=2.1,<3": {"2.3.0"},
            ">=1": {"3.1.0"},
            "==2.0.*": {"2.0.0"},
        }.items():
            assert await heard(ServiceClient("teller", connection, version=wanted)) == told
        both = ServiceClient("teller", connection, version="~=2.0")
        assert await heard(both, 20) == {"2.0.0", "2.3.0"}
        with pytest.raises(ServiceNotFound) as caught:
            await ServiceClient("teller", connection, version=">=4").version()
        assert caught.value.details["versions"] == ["1.4.0", "2.0.0", "2.3.0", "3.1.0"]
        assert "1.4.0, 2.0.0, 2.3.0, 3.1.0" in caught.value.message
        with pytest.raises(ServiceNotFound, match="there are: none"):
            await ServiceClient("nobody", connection, version=">=1").version()
    for wrong in (1.5, True):
        with pytest.raises(ConfigurationError, match="version must be a whole number, or text"):
            ServiceClient("teller", connection, version=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("word", ["concurrency", "mailbox", "prefetch", "attempts"])
def test_numbers_of_a_class_are_whole_ones(word: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{word} must be a whole number, not 1.5"):
        type("Half", (Service,), {"__doc__": "Half a one.", word: 1.5}, name="half")


async def test_a_stream_of_a_range(container: Container, four: dict[str, str]) -> None:
    client = ServiceClient("teller", container, version="==2.3.0")
    items = [item async for item in client._stream("count", {"to": 3})]
    assert items == ["2.3.0 0", "2.3.0 1", "2.3.0 2"]


async def test_one_that_is_gone_is_looked_for_again(
    container: Container, other: Container, four: dict[str, str]
) -> None:
    client = ServiceClient("teller", container, version=">=2.1,<3")
    assert await client.version() == "2.3.0"
    await other.terminate_process(four["2.3.0"])
    with pytest.raises(ServiceNotFound, match="there are"):
        await client.version()
    await container.spawn(Newer)
    assert await client.version() == "2.3.0"
    await other.spawn(Newer)


async def test_what_an_op_does_not_find_is_no_reason_to_look_again() -> None:
    calls = []

    class Lost(Service, name="lost", version="1.0.0"):
        async def op_find(self) -> None:
            calls.append(1)
            raise ion.ApplicationError("no such thing", 404, "ProcessNotFound")

    async with Container("memory://") as container:
        await container.spawn(Lost)
        with pytest.raises(ServiceNotFound, match="no such thing"):
            await ServiceClient("lost", container, version=">=1").find()
    assert len(calls) == 1


async def test_a_choice_is_made_anew_behind_the_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "FRESH", 0.0)
    async with Container("memory://") as container:
        await container.spawn(Old)
        client = ServiceClient("teller", container, version=">=1")
        assert await client.version() == "1.4.0"
        await container.spawn(New)
        async with asyncio.timeout(20):
            while await client.version() != "2.0.0":
                await asyncio.sleep(0.01)


async def test_many_first_calls_look_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    survey = versions.survey

    async def counted(*args: object) -> list[object]:
        asked.append(args)
        return await survey(*args)

    monkeypatch.setattr(versions, "survey", counted)

    class Asker(Process):
        async def op_ask(self) -> set[str]:
            client = ServiceClient("teller", self, version=">=1")
            return set(await asyncio.gather(*(client.version() for _ in range(50))))

    async with Container("memory://") as container:
        await container.spawn(Old)
        asker = await container.spawn(Asker)
        assert await container.rpc_send(asker, "ask") == ["1.4.0"]
    assert len(asked) == 1


def test_a_major_version_is_no_range() -> None:
    client = ServiceClient("teller", object(), version=2)  # type: ignore[arg-type]
    assert "teller.v2" in repr(client)
