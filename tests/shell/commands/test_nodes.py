"""What a word on the command line means: a container's id, the beginning of one, or all."""

from __future__ import annotations

import pytest

from ion import Container, connect
from ion.base.errors import ServiceNotFound
from ion.shell.commands.nodes import need_some, node_named, nodes_named
from ion.shell.exits import NOT_FOUND, UNREACHABLE, NobodyAnswered, code_of

THERE = ["lab_1", "lab_12", "lab_2", "quay"]


@pytest.mark.parametrize(
    ("word", "found"), [("lab_1", "lab_1"), ("lab_12", "lab_12"), ("q", "quay"), ("lab_2", "lab_2")]
)
def test_an_id_or_a_beginning_that_only_one_has(word, found):
    assert node_named(word, THERE) == found
    assert nodes_named(word, THERE) == [found]


def test_all_are_all():
    assert nodes_named("all", reversed(THERE)) == THERE


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("lab", "'lab' is the beginning of 3 containers: lab_1, lab_12, lab_2"),
        ("box", "there is no container 'box'; there are lab_1, lab_12, lab_2, quay"),
        ("", "there is no container ''; there are lab_1"),
        ("all", "there is no container 'all'"),
    ],
)
def test_what_is_no_container_is_told_with_those_there_are(word, said):
    with pytest.raises(ServiceNotFound) as raised:
        node_named(word, THERE)
    assert raised.value.message.startswith(said)
    assert raised.value.type == "ContainerNotFound"
    assert set(raised.value.details["containers"]) <= set(THERE)
    assert code_of(raised.value) == NOT_FOUND


def test_a_long_list_is_cut():
    with pytest.raises(ServiceNotFound, match=r"box_19 and 80 more$"):
        node_named("x", [f"box_{n:02}" for n in range(100)])


async def test_nobody_is_unreachable():
    async with Container("memory://nobody", sysname="some"):
        async with connect("memory://nobody", sysname="none") as connection:
            await need_some(["lab_1"], connection, 1.0)
            with pytest.raises(NobodyAnswered, match="is one running on this broker") as raised:
                await need_some([], connection, 1.0)
            assert code_of(raised.value) == UNREACHABLE
        async with connect("memory://nobody", sysname="some") as connection:
            with pytest.raises(NobodyAnswered, match="the broker has queues of some"):
                await need_some([], connection, 0.0)
