"""Counting, and the text that Prometheus reads."""

from __future__ import annotations

import math

import pytest

from ion.base.errors import ConfigurationError
from ion.observe.metrics import MAX_CHILDREN, Registry


def test_the_text_is_what_prometheus_reads():
    registry = Registry({"container": "box_1"})
    registry.counter("ion_calls_total", "Calls that came in").inc(3)
    registry.gauge("ion_processes", "Living processes").set(2.5)
    seconds = registry.histogram("ion_call_seconds", "Time in ops", bounds=(0.1, 1.0))
    for value in (0.1, 0.25, 5.0):
        seconds.observe(value)
    assert registry.render() == (
        "# HELP ion_call_seconds Time in ops\n"
        "# TYPE ion_call_seconds histogram\n"
        'ion_call_seconds_bucket{container="box_1",le="0.1"} 1\n'
        'ion_call_seconds_bucket{container="box_1",le="1"} 2\n'
        'ion_call_seconds_bucket{container="box_1",le="+Inf"} 3\n'
        'ion_call_seconds_sum{container="box_1"} 5.35\n'
        'ion_call_seconds_count{container="box_1"} 3\n'
        "# HELP ion_calls_total Calls that came in\n"
        "# TYPE ion_calls_total counter\n"
        'ion_calls_total{container="box_1"} 3\n'
        "# HELP ion_processes Living processes\n"
        "# TYPE ion_processes gauge\n"
        'ion_processes{container="box_1"} 2.5\n'
    )


def test_labels_make_a_metric_for_each_combination():
    calls = Registry().counters("calls_total", "Calls", "service", "code")
    hello = calls.labels("hello", "200")
    hello.inc()
    calls.labels("hello", "200").inc()
    calls.labels("hello", "404").inc()
    assert hello.value == 2
    assert len(calls.children) == 2
    with pytest.raises(ValueError, match="has labels"):
        calls.labels("hello")


def test_the_number_of_label_values_is_bounded():
    registry = Registry()
    calls = registry.counters("calls_total", "Calls", "user")
    for n in range(MAX_CHILDREN + 50):
        calls.labels(f"u{n}").inc()
    assert len(calls.children) == MAX_CHILDREN + 1
    assert calls.labels("other").value == 50


def test_a_gauge_can_be_read_when_somebody_looks():
    registry = Registry()
    things = [1, 2]
    gauge = registry.gauge("things", "Things", read=lambda: len(things))
    gauge.inc(5)
    gauge.dec()
    things.append(3)
    assert gauge.value == 4
    assert "things 3\n" in registry.render()


def test_text_is_escaped():
    registry = Registry()
    registry.counters("a_total", "back\\slash\nline", "x").labels('q"\n\\').inc()
    assert "# HELP a_total back\\\\slash\\nline\n" in registry.render()
    assert 'a_total{x="q\\"\\n\\\\"} 1\n' in registry.render()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
        (1e21, "1" + "0" * 21),
        (0.5, "0.5"),
    ],
)
def test_numbers(value, shown):
    registry = Registry()
    registry.gauge("g", "G").set(value)
    assert f"\ng {shown}\n" in registry.render()


def test_the_same_name_is_the_same_metric_and_no_other_kind():
    registry = Registry()
    registry.counter("a_total", "A").inc()
    assert registry.counter("a_total", "A").value == 1
    with pytest.raises(ConfigurationError, match="is a counter"):
        registry.gauge("a_total", "A")
    with pytest.raises(ConfigurationError, match="is a counter"):
        registry.counters("a_total", "A", "x")


@pytest.mark.parametrize(("name", "label"), [("a b", "x"), ("1a", "x"), ("a", "__x"), ("a", "x-y")])
def test_names_are_those_of_prometheus(name, label):
    with pytest.raises(ConfigurationError, match="not names"):
        Registry().counters(name, "A", label)


def test_an_empty_registry_has_an_empty_text():
    assert Registry().render() == ""


def test_histograms_by_label():
    registry = Registry()
    registry.histograms("s", "S", "op", bounds=(1,)).labels("hello").observe(2)
    assert registry.histograms("s", "S", "op").labels("hello").count == 1
    assert 's_bucket{op="hello",le="+Inf"} 1\n' in registry.render()
