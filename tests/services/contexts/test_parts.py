"""The pure parts of contexts: natural order, dependencies, roots, the log of changes."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ion.services.contexts import codes
from ion.services.contexts.codes import ItemError
from ion.services.contexts.dependencies import ordered
from ion.services.contexts.model import Item
from ion.services.contexts.natural_sort import natural_key
from ion.services.contexts.roots import Roots
from ion.services.contexts.rows import Changes

names = st.text(st.sampled_from("ab/_-01289.é"), max_size=12)


def item(tag: str, depends_on: str = "") -> Item:
    return Item(f"file::/{tag}", f"iowarp::{tag}", depends_on=depends_on)


def test_natural_order() -> None:
    want = ["", "2", "10", "chunk_0", "chunk_2", "chunk_010", "chunk_11", "chunk_a", "description"]
    want.reverse()
    assert sorted(want, key=natural_key) == want[::-1]


@settings(max_examples=60, deadline=None)
@given(st.lists(names))
def test_natural_order_is_an_order(found: list[str]) -> None:
    assert sorted(sorted(found), key=natural_key) == sorted(
        sorted(found, reverse=True), key=natural_key
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=10), st.randoms())
def test_each_item_comes_after_those_it_depends_on(before: list[int], chance: Random) -> None:
    items = [item(f"t{n}", f"t{b}" if b < n else "") for n, b in enumerate(before)]
    some = chance.sample(items, len(items))
    order = [some[number].dst for number in ordered(some)]
    assert sorted(order) == sorted(each.dst for each in items)
    for each in items:
        if each.depends_on:
            assert order.index(f"iowarp::{each.depends_on}") < order.index(each.dst)


def test_an_order_that_there_is_none_of() -> None:
    chain = [item("a"), item("b", "a"), item("c")]
    assert ordered(chain) == [0, 1, 2]
    assert ordered([item("x", "there")], {"there"}) == [0]
    for wrong in ([item("a", "b"), item("b", "a")], [item("a", "a")], [item("a", "nobody")]):
        with pytest.raises(ItemError) as caught:
            ordered(wrong)
        assert caught.value.code == codes.BAD_ORDER
    many = [item(f"t{n}", f"t{n + 1}" if n < 4999 else "") for n in range(5000)]
    assert ordered(many) == list(reversed(range(5000)))


def test_roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, other = tmp_path / "root", tmp_path / "root-2"
    root.mkdir()
    other.mkdir()
    (root / "out").symlink_to(other)
    (root / "in").symlink_to(root / "file")
    (root / "loop").symlink_to(root / "loop")
    roots = Roots([str(root)])
    monkeypatch.chdir(root)
    assert roots.checked("file") == roots.checked("in") == root / "file"
    for outside in (str(other), "../root-2/x", "out/x", "/", f"{root}/../../x", "/proc/self/root"):
        with pytest.raises(ItemError) as caught:
            roots.checked(outside)
        assert caught.value.code == codes.OUTSIDE, outside
    with pytest.raises(ItemError):
        Roots([]).checked("file")
    assert os.fspath(Roots(["/"]).checked("/etc")) == "/etc"
    urls = Roots(["https://host/a", "memory://"])
    for inside in ("https://host/a/b?c=d", "https://host/a", "memory://x"):
        assert urls.checked_url(inside) == inside
    for outside in (
        *("https://host.evil/a/", "https://host/ab", "http://host/a/b", "https://host/a/../b"),
        *("https://host/a/%2E%2e/b", "https://host@evil/a/", "memory://x::file:///etc/passwd"),
    ):
        with pytest.raises(ItemError):
            urls.checked_url(outside)


def test_what_was_changed_since() -> None:
    changes = Changes()
    for number in range(100):
        changes = changes.and_then(str(number), {f"t{number}"})
    assert changes.since("99") == set()
    assert changes.since("97") == {"t98", "t99"}
    assert changes.since("1") is None
    many = changes.and_then("many", {str(n) for n in range(100)})
    assert many.since("99") is None
    assert many.since("many") == set()
