"""Patterns: as Python's own, and never for ever."""

from __future__ import annotations

import re
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ion.base.errors import ConfigurationError, InvalidRequest
from ion.base.patterns import compiled

names = st.text(st.sampled_from("ab/_-01289.é"), max_size=12)
PATTERNS = [
    "a",
    "a.b",
    r"a\.b",
    "a*",
    "[ab]+",
    "a|b",
    "(a|b)*",
    r"\d+",
    "[^a]*",
    ".",
    "a.*",
    "",
    ".*",
]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(PATTERNS), names)
def test_patterns_match_as_pythons_own(pattern: str, name: str) -> None:
    assert compiled(pattern).matches(name) == (re.fullmatch(pattern, name, re.ASCII) is not None)


@pytest.mark.parametrize(
    "pattern", ["(", "[", "a(?=b)", r"\1", "(?<!a)b", "*", "x" * 1025, "\ud800"]
)
def test_a_pattern_that_is_none(pattern: str) -> None:
    with pytest.raises(InvalidRequest, match="pattern"):
        compiled(pattern)


@pytest.mark.parametrize("pattern", ["(a*)*b", "(a|aa)+b", "(.*a){20}b", "a*a*a*a*a*a*a*a*b"])
def test_no_pattern_runs_for_ever(pattern: str) -> None:
    start = time.process_time()
    assert not compiled(pattern).matches("a" * 400)
    assert time.process_time() - start < 5


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)
    compiled.cache_clear()
    with pytest.raises(ConfigurationError, match=r"pip install 'ioncore\[patterns\]'"):
        compiled("[a-z]+")
    assert compiled("plain").matches("plain")
