"""The text that Prometheus reads."""

from __future__ import annotations

import math

import pytest

from ion.observe.metrics import Metrics


def test_the_text_is_what_prometheus_reads():
    metrics = Metrics({"container": "box_1"})
    metrics.add("ion_processes", "Living processes", 2.5)
    metrics.add("ion_calls_total", "Calls that came in", 3, service="hello", version="1")
    metrics.add("ion_calls_total", "Calls that came in", 4, service="echo", version="2")
    assert metrics.render() == (
        "# HELP ion_calls_total Calls that came in\n"
        "# TYPE ion_calls_total counter\n"
        'ion_calls_total{container="box_1",service="hello",version="1"} 3\n'
        'ion_calls_total{container="box_1",service="echo",version="2"} 4\n'
        "# HELP ion_processes Living processes\n"
        "# TYPE ion_processes gauge\n"
        'ion_processes{container="box_1"} 2.5\n'
    )


def test_text_is_escaped():
    metrics = Metrics()
    metrics.add("a_total", "back\\slash\nline", 1, x='q"\n\\')
    assert "# HELP a_total back\\\\slash\\nline\n" in metrics.render()
    assert 'a_total{x="q\\"\\n\\\\"} 1\n' in metrics.render()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
        (1e21, "1" + "0" * 21),
        (0.5, "0.5"),
        (True, "1"),
    ],
)
def test_numbers(value, shown):
    metrics = Metrics()
    metrics.add("g", "G", value)
    assert f"\ng {shown}\n" in metrics.render()


def test_without_numbers_there_is_no_text():
    assert Metrics().render() == ""
