"""Metrics: counters, gauges and histograms, and their text for Prometheus.

Contract: counting is an addition, done where the thing happens; all else is done when somebody
looks. A registry belongs to its owner (a container); none is global. The number of label values of
a metric is bounded: beyond, what comes is counted under ``other``. Not for use across threads.
Source of the text format: https://prometheus.io/docs/instrumenting/exposition_formats/ (0.0.4).
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from ion.base.errors import ConfigurationError

MAX_CHILDREN = 1000
OTHER = "other"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# seconds; the bounds between which most calls of a message bus lie
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*\Z")
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*\Z")

Sample = tuple[str, str, float]  # suffix of the name, further labels, value


class Counter:
    """A number that only grows."""

    kind = "counter"
    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        """Add ``amount``, which is not negative."""
        self.value += amount

    def samples(self) -> Iterator[Sample]:
        """Give the lines of the text."""
        yield "", "", self.value


class Gauge:
    """A number that goes up and down; or one that is read when somebody looks.

    :ivar read: gives the value, where it is set; must not raise.
    """

    kind = "gauge"
    __slots__ = ("read", "value")

    def __init__(self) -> None:
        self.value = 0.0
        self.read: Callable[[], float] | None = None

    def set(self, value: float) -> None:
        """Take the value."""
        self.value = value

    def inc(self, amount: float = 1.0) -> None:
        """Add ``amount``."""
        self.value += amount

    def dec(self, amount: float = 1.0) -> None:
        """Take ``amount`` away."""
        self.value -= amount

    def samples(self) -> Iterator[Sample]:
        """Give the lines of the text."""
        yield "", "", self.value if self.read is None else self.read()


class Histogram:
    """How often values fell between bounds, their number and their sum.

    :param bounds: upper bounds (inclusive) of the buckets, ascending; one more takes the rest.
    """

    kind = "histogram"
    __slots__ = ("_bounds", "buckets", "sum")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self._bounds = tuple(bounds)
        self.buckets = [0] * (len(self._bounds) + 1)
        self.sum = 0.0

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.buckets)

    def observe(self, value: float) -> None:
        """Count ``value``."""
        self.buckets[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def samples(self) -> Iterator[Sample]:
        """Give the lines of the text: buckets (each with those below it), sum, count."""
        total = 0
        for bound, number in zip((*self._bounds, math.inf), self.buckets, strict=True):
            total += number
            yield "_bucket", f'le="{_number(bound)}"', total
        yield "_sum", "", self.sum
        yield "_count", "", total


Metric = TypeVar("Metric", bound=Counter | Gauge | Histogram)


class Family(Generic[Metric]):
    """One metric for each combination of label values.

    :ivar children: the metrics by their label values; at most :data:`MAX_CHILDREN` and one.
    """

    __slots__ = ("_make", "children", "help", "kind", "label_names", "name")

    def __init__(
        self, name: str, help: str, label_names: Sequence[str], make: Callable[[], Metric]
    ) -> None:
        self.name = name
        self.help = help
        self.label_names = tuple(label_names)
        self.children: dict[tuple[str, ...], Metric] = {}
        self._make = make
        self.kind = make().kind

    def labels(self, *values: str) -> Metric:
        """Return the metric for these label values; keep it, to count without a look-up.

        :raises ValueError: not as many values as the family has labels.
        """
        child = self.children.get(values)
        if child is not None:
            return child
        if len(values) != len(self.label_names):
            message = f"{self.name} has labels {self.label_names}, not {len(values)} values"
            raise ValueError(message)
        if len(self.children) >= MAX_CHILDREN:
            values = (OTHER,) * len(self.label_names)
        return self.children.setdefault(values, self._make())


class Registry:
    """The metrics of one owner.

    :param constant: labels that every line carries, such as the container's id.
    """

    __slots__ = ("_constant", "_families")

    def __init__(self, constant: Mapping[str, str] | None = None) -> None:
        self._constant = _pairs(constant or {})
        self._families: dict[str, Family[Any]] = {}

    def counter(self, name: str, help: str) -> Counter:
        """Return the counter ``name``; made where it does not exist yet.

        :param help: what it counts, for people.
        :raises ConfigurationError: the name is none, or is taken by another kind of metric.
        """
        return self.counters(name, help).labels()

    def counters(self, name: str, help: str, *labels: str) -> Family[Counter]:
        """Return the counters ``name``, one for each combination of values of ``labels``."""
        return self._family(name, help, labels, Counter)

    def gauge(self, name: str, help: str, read: Callable[[], float] | None = None) -> Gauge:
        """Return the gauge ``name``; with ``read``, its value is what that returns.

        :raises ConfigurationError: the name is none, or is taken by another kind of metric.
        """
        gauge = self.gauges(name, help).labels()
        if read is not None:
            gauge.read = read
        return gauge

    def gauges(self, name: str, help: str, *labels: str) -> Family[Gauge]:
        """Return the gauges ``name``, one for each combination of values of ``labels``."""
        return self._family(name, help, labels, Gauge)

    def histogram(self, name: str, help: str, bounds: Sequence[float] = SECONDS) -> Histogram:
        """Return the histogram ``name``.

        :param bounds: of the buckets, ascending; in the unit that ends the metric's name.
        :raises ConfigurationError: the name is none, or is taken by another kind of metric.
        """
        return self.histograms(name, help, bounds=bounds).labels()

    def histograms(
        self, name: str, help: str, *labels: str, bounds: Sequence[float] = SECONDS
    ) -> Family[Histogram]:
        """Return the histograms ``name``, one for each combination of values of ``labels``."""
        return self._family(name, help, labels, lambda: Histogram(bounds))

    def render(self) -> str:
        """Return all metrics as text for Prometheus, sorted by name."""
        lines: list[str] = []
        for name in sorted(self._families):
            family = self._families[name]
            lines.append(f"# HELP {name} {_escaped(family.help)}")
            lines.append(f"# TYPE {name} {family.kind}")
            for values, child in family.children.items():
                own = _pairs(dict(zip(family.label_names, values, strict=True)))
                for suffix, further, value in child.samples():
                    labels = ",".join(filter(None, (self._constant, own, further)))
                    shown = f"{{{labels}}}" if labels else ""
                    lines.append(f"{name}{suffix}{shown} {_number(value)}")
        return "\n".join([*lines, ""])

    def _family(
        self, name: str, help: str, labels: Sequence[str], make: Callable[[], Metric]
    ) -> Family[Metric]:
        known = self._families.get(name)
        if known is None:
            if not _NAME.match(name) or not all(map(_LABEL.match, labels)):
                message = f"metric {name!r} with labels {tuple(labels)!r}: not names of Prometheus"
                raise ConfigurationError(message)
            known = self._families[name] = Family(name, help, labels, make)
        elif known.kind != make().kind or known.label_names != tuple(labels):
            message = f"metric {name!r} is a {known.kind} with labels {known.label_names} already"
            raise ConfigurationError(message)
        return known


def _pairs(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value, quote=True)}"' for name, value in labels.items())


def _escaped(text: str, *, quote: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quote else text


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    return str(int(value)) if float(value).is_integer() else repr(float(value))
