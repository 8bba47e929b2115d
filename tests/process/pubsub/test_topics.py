"""Topics and patterns: what is one, and what is not."""

from __future__ import annotations

import pytest

from ion import BadRequest
from ion.process.pubsub.topics import MAX_PATTERNS, checked_patterns, checked_topic


@pytest.mark.parametrize("topic", ["a", "station.4.temperature", "A_b-9", "x" * 255])
def test_a_topic(topic: str) -> None:
    assert checked_topic(topic) == topic


@pytest.mark.parametrize(
    "topic", ["", ".", "a.", ".a", "a..b", "a b", "a.*", "#", "ä", "a\n", "x" * 256, None, 7]
)
def test_what_is_no_topic_is_named(topic: object) -> None:
    with pytest.raises(BadRequest) as refused:
        checked_topic(topic)
    assert repr(topic) in str(refused.value)


@pytest.mark.parametrize("pattern", ["a", "*", "#", "a.*.b", "#.a.#", "*.*"])
def test_a_pattern(pattern: str) -> None:
    assert checked_patterns(pattern) == (pattern,)
    assert checked_patterns(["x", pattern, "x"]) == ("x", pattern)


@pytest.mark.parametrize("pattern", ["", "a*", "*a", "##", "a.#b", "a..#", "x" * 256, 7])
def test_what_is_no_pattern_is_named(pattern: object) -> None:
    with pytest.raises(BadRequest) as refused:
        checked_patterns(["fine", pattern])  # type: ignore[list-item]
    assert repr(pattern) in str(refused.value)


@pytest.mark.parametrize("count", [0, MAX_PATTERNS + 1])
def test_so_many_patterns_and_no_more(count: int) -> None:
    with pytest.raises(BadRequest, match=f"1 to {MAX_PATTERNS} topics, not {count}"):
        checked_patterns([f"t{n}" for n in range(count)])
