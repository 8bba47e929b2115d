"""Metrics: numbers as text for Prometheus, made anew for each who asks.

Source of the text format: https://prometheus.io/docs/instrumenting/exposition_formats/ (0.0.4).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Kind = Literal["counter", "gauge"]


class Metrics:
    """The numbers of one owner at one time.

    :param constant: labels that every line carries, such as the container's id.
    """

    def __init__(self, constant: Mapping[str, str] | None = None) -> None:
        self._constant = dict(constant or {})
        self._heads: dict[str, str] = {}
        self._lines: dict[str, list[str]] = {}

    def add(self, name: str, tells: str, value: float, **labels: str) -> None:
        """Add a number: a counter, which only grows, where ``name`` ends in ``_total``.

        :param name: of letters, digits and ``_``; its unit at the end.
        :param tells: for people: what it is. Of one name, the first that is given is shown.
        """
        kind: Kind = "counter" if name.endswith("_total") else "gauge"
        head = f"# HELP {name} {_escaped(tells)}\n# TYPE {name} {kind}"
        self._heads.setdefault(name, head)
        shown = _shown({**self._constant, **labels})
        self._lines.setdefault(name, []).append(f"{name}{shown} {_number(value)}")

    def render(self) -> str:
        """Return all as text, sorted by name."""
        lines: list[str] = []
        for name in sorted(self._heads):
            lines += (self._heads[name], *self._lines[name])
        return "\n".join([*lines, ""])


def _shown(labels: Mapping[str, str]) -> str:
    pairs = ",".join(f'{name}="{_escaped(value, quote=True)}"' for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _escaped(text: str, *, quote: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quote else text


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    return str(int(value)) if float(value).is_integer() else repr(float(value))
