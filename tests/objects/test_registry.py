"""Typed messages: names and versions that stay, rules, upgrades, and merges field by field."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest

from ion.base.errors import ConfigurationError, Conflict, Damaged, InvalidRequest, NewerSchema
from ion.objects.element import Typed
from ion.objects.registry import Registry, typed_of
from ion.objects.repository import Repository
from ion.objects.rules import Length, Pattern, Range, Required
from ion.objects.thawing import NOTHING
from tests.objects.protos import classes, file, map_entry, message

POSITION = message("Position", "double latitude = 1", "double longitude = 2")
FIELDS = (
    "string id = 1",
    ".lab.Position position = 2",
    "repeated string tags = 3",
    "repeated .lab.Station.LabelsEntry labels = 4",
    "oneof power: double battery = 5",
    "oneof power: string mains = 6",
    "double depth = 7",
    "repeated .lab.Position track = 8",
    "repeated .lab.Station.SitesEntry sites = 10",
)
ENTRIES = (
    map_entry("LabelsEntry", "string", "string"),
    map_entry("SitesEntry", "string", ".lab.Position"),
)
NOW = classes(file(POSITION, message("Station", *FIELDS, nested=ENTRIES)))
LATER = classes(file(POSITION, message("Station", *FIELDS, "string owner = 9", nested=ENTRIES)))
V1 = classes(file(message("OldStation", "string name = 1", "double lat = 2")))["OldStation"]
Station, Position = NOW["Station"], NOW["Position"]
Newer = LATER["Station"]
RULES = (
    Required("id"), Range("position.latitude", -90, 90), Length("tags", most=3),
    Pattern("id", r"[a-z0-9-]+"), Required("track.latitude"), Length("id", least=2),
)  # fmt: skip


@pytest.fixture
def registry():
    made = Registry()
    made.register(Station, name="ion.station", version=2, rules=RULES)
    return made


@pytest.fixture
def newer():
    made = Registry()
    made.register(Newer, name="ion.station", version=3)
    return made


def test_a_message_says_what_it_is(registry):
    station = Station(id="s-1", depth=5.0, labels={"b": "2", "a": "1"})
    typed = registry.pack(station)
    assert (typed.name, typed.version) == ("ion.station", 2)
    assert registry.unpack(typed) == station
    assert registry.decode(registry.encode(station)) == station
    assert typed_of(registry.encode(station)) == typed
    other = Station(id="s-1", depth=5.0)
    other.labels["a"], other.labels["b"] = "1", "2"
    assert registry.pack(other) == typed
    assert registry.names() == {"ion.station": 2}


@pytest.mark.parametrize(
    ("given", "field", "how"),
    [
        ({}, "id", "missing"),
        ({"id": "s-1", "position": {"latitude": 91}}, "position.latitude", "91.0, not -90 to 90"),
        ({"id": "s-1", "position": {"latitude": math.nan}}, "position.latitude", "nan"),
        ({"id": "s-1", "tags": ["a"] * 4}, "tags", "has 4, not 0 to 3"),
        ({"id": "S 1"}, "id", "does not match"),
        ({"id": "s-1", "track": [{"latitude": 1}, {}]}, "track.latitude", "missing"),
    ],
)
def test_a_message_that_breaks_a_rule_is_refused(registry, given, field, how):
    with pytest.raises(InvalidRequest, match=r"ion\.station: ") as caught:
        registry.pack(Station(**given))
    assert how in caught.value.details["broken"][field]


def test_rules_say_what_is_broken():
    assert Range("depth", least=1).broken(Station(depth=0.5)) == "is 0.5, not 1 or more"
    assert Range("depth", most=1).broken(Station(depth=2)) == "is 2.0, not 1 or less"
    assert Length("labels", least=1).broken(Station()) == "has 0, not 1 or more"
    assert Required("position").broken(Station()) == "is missing"
    assert Required("position").broken(Station(position={})) is None
    assert Required("position.latitude").broken(Station()) is None
    assert Required("tags").broken(Station(tags=["a"])) is None
    assert Range("sites.latitude", 0, 1).broken(Station(sites={"a": Position(latitude=2)}))


def test_what_cannot_be_registered(registry):
    for wrong in (
        {"message_class": dict, "name": "a"}, {"message_class": Station(), "name": "a"},
        {"message_class": Position, "name": "Ion"}, {"message_class": Position, "name": ""},
        {"message_class": Position, "name": "a", "version": 0},
        {"message_class": Position, "name": "a", "version": "1"},
        {"message_class": Position, "name": "ion.station"},
        {"message_class": Station, "name": "other"},
        {"message_class": Position, "name": "a", "rules": [Required("nothing")]},
        {"message_class": Position, "name": "a", "rules": [Required("latitude.x")]},
    ):  # fmt: skip
        with pytest.raises(ConfigurationError):
            registry.register(**wrong)
    for version in (0, 2, 3):
        with pytest.raises(ConfigurationError, match="no older version"):
            registry.upgrade("ion.station", version, V1, Station)
    with pytest.raises(ConfigurationError):
        registry.upgrade("unknown", 1, V1, Station)
    with pytest.raises(InvalidRequest, match=r"lab\.Position is not registered"):
        registry.pack(Position())
    with pytest.raises(InvalidRequest, match=r"known: ion\.station"):
        registry.unpack(Typed("unknown", 1, b""))
    assert registry.unpacked(Typed("unknown", 1, b"")) == Typed("unknown", 1, b"")


def test_older_versions_are_upgraded_step_by_step(newer):
    newer.upgrade("ion.station", 1, V1, lambda o: Station(id=o.name, position={"latitude": o.lat}))
    newer.upgrade("ion.station", 2, Station, lambda old: Newer(id=old.id + "!", owner="nobody"))
    old = Typed("ion.station", 1, V1(name="s", lat=5).SerializeToString())
    assert newer.unpack(old) == Newer(id="s!", owner="nobody")
    second = Typed("ion.station", 2, Station(id="t").SerializeToString())
    assert newer.unpack(second).id == "t!"
    third = Typed("ion.station", 3, Newer(id="u").SerializeToString())
    assert newer.unpack(third).id == "u"


def test_without_an_upgrade_bytes_are_read_as_they_are(newer):
    assert newer.unpack(Typed("ion.station", 1, Station(id="s").SerializeToString())).id == "s"
    newer.upgrade("ion.station", 1, V1, lambda old: Station(id=old.name.upper()))
    assert newer.unpack(Typed("ion.station", 1, V1(name="s").SerializeToString())).id == "S"


def test_an_upgrade_that_returns_no_message_is_an_error(newer):
    newer.upgrade("ion.station", 2, Station, lambda _: None)
    with pytest.raises(Damaged, match="returned no message"):
        newer.unpack(Typed("ion.station", 2, b""))


def test_a_newer_version_is_read_as_far_as_it_is_known(registry, newer):
    typed = newer.pack(Newer(id="s-1", owner="me"))
    message = registry.unpack(typed)
    message.depth = 7
    again = registry.pack(message, version=typed.version)
    assert again.version == 3
    assert newer.unpack(again) == Newer(id="s-1", owner="me", depth=7)
    with pytest.raises(NewerSchema, match="version 3 was written by a newer release"):
        registry.unpack(typed, is_newer_read=False)


@pytest.mark.parametrize("data", [b"\x0a\xff", b"\xff" * 20, b"\x0a\x01\xff"])
def test_what_is_no_message_is_damaged(registry, data):
    with pytest.raises(Damaged, match="cannot be read"):
        registry.unpack(Typed("ion.station", 2, data))
    with pytest.raises(Damaged):
        registry.decode(data)


async def test_messages_are_put_and_read_directly(home, registry):
    repository = Repository("r", home, types=registry)
    tree = repository.begin()
    station = Station(id="s-1", tags=["a"])
    large = Station(id="s-2", tags=["x" * 300_000])
    tree.set("s/1", station)
    tree.set("all", {"list": [station, 5], "large": large, "plain": b"x"})
    assert await tree.get("s/1") == station
    await repository.commit(tree)
    found = await repository.checkout()
    assert await found.get("s/1") == station
    assert await found.value() == {
        "s": {"1": station},
        "all": {"list": [station, 5], "large": large, "plain": b"x"},
    }
    assert await found.get("all/list/0") == station
    with pytest.raises(InvalidRequest, match="id is missing"):
        found.set("s/2", Station())
    plain = Repository("p", home).begin()
    plain.set("s", station)
    with pytest.raises(InvalidRequest, match="plain data"):
        await Repository("p", home).commit(plain)
    raw = await Repository("r", home).checkout()
    assert await raw.get("s/1") == registry.pack(station)


async def test_a_message_of_a_newer_release_keeps_its_version(home, registry, newer):
    theirs = Repository("r", home, types=newer)
    tree = theirs.begin()
    tree.set("s", Newer(id="s-1", owner="me"))
    await theirs.commit(tree)
    ours = Repository("r", home, types=registry)
    tree = await ours.checkout()
    message = await tree.get("s")
    message.depth = 3
    tree.set("s", message)
    await ours.commit(tree)
    assert await (await theirs.checkout()).get("s") == Newer(id="s-1", owner="me", depth=3)
    assert (await (await Repository("r", home).checkout()).get("s")).version == 3


# Merging.


def merge(registry, base, ours, theirs):
    sides = [registry.pack(side) if side is not None else None for side in (base, ours, theirs)]
    merged, conflicts = registry.merge(*sides)
    mirrored, others = registry.merge(sides[0], sides[2], sides[1])
    assert [(name, was, theirs, ours) for name, was, ours, theirs in others] == conflicts
    if not conflicts:
        assert mirrored == merged
    return registry.unpack(merged), conflicts


BASE = Station(
    id="s-1", position={"latitude": 1, "longitude": 2}, tags=["t"], labels={"k": "v", "g": "x"},
    battery=1.0, depth=1.0, sites={"a": Position(latitude=1)},
)  # fmt: skip


def changed(**fields):
    made = Station()
    made.CopyFrom(BASE)
    for name in fields:
        made.ClearField(name)
    made.MergeFrom(Station(**{name: value for name, value in fields.items() if value is not None}))
    return made


def test_what_either_side_changed_is_taken(registry):
    ours = changed(depth=2.0, labels={"k": "ours", "g": "x"}, position={"latitude": 1})
    theirs = changed(
        tags=["t", "u"], labels={"k": "v", "n": "1"}, position={"latitude": 9, "longitude": 2},
        battery=None, mains="230 V",
    )  # fmt: skip
    result, conflicts = merge(registry, BASE, ours, theirs)
    assert conflicts == []
    assert result == changed(
        depth=2.0, tags=["t", "u"], labels={"k": "ours", "n": "1"}, position={"latitude": 9},
        battery=None, mains="230 V",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("ours", "theirs", "conflict"),
    [
        ({"depth": 2.0}, {"depth": 3.0}, ("depth", 1.0, 2.0, 3.0)),
        ({"tags": ["a"]}, {"tags": []}, ("tags", ["t"], ["a"], [])),
        (
            {"position": {"latitude": 5, "longitude": 2}},
            {"position": {"latitude": 6, "longitude": 3}},
            ("position.latitude", 1.0, 5.0, 6.0),
        ),
        (
            {"position": None},
            {"position": {"latitude": 6}},
            ("position", BASE.position, NOTHING, Position(latitude=6)),
        ),
        ({"battery": 2.0}, {"mains": "y"}, ("power", 1.0, 2.0, "y")),
        ({"labels": {"k": "a"}}, {"labels": {"k": "b"}}, ("labels[k]", "v", "a", "b")),
        ({"labels": {"g": "x"}}, {"labels": {"k": "b"}}, ("labels[k]", "v", NOTHING, "b")),
    ],
)
def test_what_both_changed_is_a_conflict_and_ours_stays(registry, ours, theirs, conflict):
    result, conflicts = merge(registry, BASE, changed(**ours), changed(**theirs))
    assert conflicts == [conflict]
    name = conflict[0].split(".")[0].split("[")[0]
    if name == "depth":
        assert result.depth == 2.0


def test_the_same_on_both_sides_is_no_conflict(registry):
    same = changed(depth=math.nan, position={"latitude": 3}, labels={})
    result, conflicts = merge(registry, BASE, same, same)
    assert conflicts == []
    assert result.position.latitude == 3
    assert merge(registry, None, same, changed(depth=math.nan))[1] != []


def test_fields_that_are_not_known_here_are_merged_whole(registry, newer):
    base = newer.pack(Newer(id="s-1", owner="a"))
    ours = newer.pack(Newer(id="s-1", owner="a", depth=1))
    theirs = newer.pack(Newer(id="s-1", owner="b"))
    merged, conflicts = registry.merge(base, ours, theirs)
    assert (newer.unpack(merged), conflicts) == (Newer(id="s-1", owner="b", depth=1), [])
    assert merged.version == 3
    other = newer.pack(Newer(id="s-1", owner="c"))
    assert registry.merge(base, other, theirs) is None
    assert registry.merge(base, ours, Typed("unknown", 1, b"")) is None
    assert registry.merge(base, ours, Typed("ion.station", 3, b"\xff")) is None


async def test_messages_in_repositories_are_merged_field_by_field(home, registry):
    repository = Repository("r", home, types=registry)
    tree = repository.begin()
    tree.set("s", BASE)
    tree.set("big", Station(id="big", tags=["x" * 200_000]))
    await repository.commit(tree)
    await repository.branch("side")
    for branch, depth, tags in (("main", 2.0, ["t"]), ("side", 3.0, ["u"])):
        tree = await repository.checkout(branch)
        tree.set("s", changed(depth=depth, tags=tags))
        big = await tree.get("big")
        big.depth, big.labels[branch] = 7.0, "x"
        tree.set("big", big)
        await repository.commit(tree)
    merging = await repository.merge("side")
    (conflict,) = merging.conflicts
    assert (conflict.path, conflict.field) == (("s",), "depth")
    assert (conflict.base, conflict.ours, conflict.theirs) == (1.0, 2.0, 3.0)
    with pytest.raises(Conflict, match="not decided"):
        await repository.commit(merging.tree)
    message = await merging.tree.get("s")
    assert message == changed(depth=2.0, tags=["u"])
    message.depth = 2.5
    merging.resolve("s", message)
    await repository.commit(merging.tree)
    found = await repository.checkout()
    assert await found.get("s") == changed(depth=2.5, tags=["u"])
    assert dict((await found.get("big")).labels) == {"main": "x", "side": "x"}
    plain = await Repository("r", home).merge("side", ours=(await repository.branches())["main"])
    assert not plain.is_needed


def test_objects_need_no_protobuf_until_types_are_registered():
    code = (
        "import sys; sys.modules['google.protobuf'] = None; sys.modules['google'] = None\n"
        "import ion.objects.workbench, ion.objects.registry as r\n"
        "try: r.Registry()\n"
        "except Exception as e: print(type(e).__name__, e)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == (
        "ConfigurationError protobuf is not installed: pip install 'ioncore[protobuf]'"
    )
