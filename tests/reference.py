"""Keep what the reference says equal to the code; ``python -m tests.reference`` writes it anew.

A page holds generated text between ``<!-- generated: NAME -->`` and ``<!-- end -->``, where NAME is
a key of ``GENERATED``.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from inspect import getdoc
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect

from ion.base import errors
from ion.base.fsm import MachineSpec
from ion.base.lifecycle import LIFECYCLE
from ion.base.schema import NAME_PATTERN
from ion.base.settings import ServiceOverride, Settings
from ion.container.agent.agent import ContainerAgent
from ion.container.agent.reports import REPORTS
from ion.conversation.generic import GENERIC
from ion.conversation.oneway import ONE_WAY
from ion.conversation.request import REQUEST_PROTOCOL
from ion.conversation.rpc import RPC
from ion.conversation.stream import STREAM
from ion.process import supervision
from ion.process.supervision.decisions import MACHINE as SUPERVISION
from ion.services.instrument.machine import AGENT as INSTRUMENT
from tests.shell.doctoring import faults_table

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "docs" / "reference"
EXPLANATION = ROOT / "docs" / "explanation"
SAME_AS = {"mailbox": "process.mailbox"}  # what an override is over, where it is no service.*
_PLACE = re.compile(r"(<!-- generated: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
_PARAM = re.compile(r":param (\w+): ((?:.|\n)*?)(?=\n\s*:|\Z)")


# settings


def settings() -> str:
    """Return the table of all settings."""
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    rows += [f"| {' | '.join(row)} |" for row in _keys(Settings, "")]
    rows += [f"| {' | '.join(row)} |" for row in _keys(ServiceOverride, "services.<name>.")]
    return "\n".join(rows)


def _keys(struct: type[msgspec.Struct], prefix: str) -> Iterator[tuple[str, str, str, str]]:
    meanings = dict(_PARAM.findall(struct.__doc__ or ""))
    for field in msgspec.structs.fields(struct):
        section = field.type
        if isinstance(section, type) and issubclass(section, msgspec.Struct):
            yield from _keys(section, f"{prefix}{field.encode_name}.")
            continue
        meaning = " ".join(meanings.get(field.name, "").split())
        meaning = meaning.removeprefix(f"(``{field.encode_name}`` in files) ").replace("``", "`")
        meaning = meaning or f"as `{SAME_AS.get(field.name, 'service.' + field.name)}`"
        default = json.dumps(msgspec.to_builtins(_default(field)))
        kind = _kind(inspect.type_info(field.type))
        yield f"`{prefix}{field.encode_name}`", kind, f"`{default}`", meaning


def _default(field: Any) -> Any:
    return field.default_factory() if field.default is msgspec.NODEFAULT else field.default


def _kind(info: Any) -> str:
    """Say in words what a type takes."""
    match info:
        case inspect.UnionType():
            return " or ".join(_kind(each) for each in info.types)
        case inspect.LiteralType():
            return ", ".join(f"`{value}`" for value in info.values)
        case inspect.ListType():
            return f"list of {_kind(info.item_type)}"
        case inspect.DictType() if isinstance(info.value_type, inspect.StructType):
            return "map of maps, see below"
        case inspect.DictType():
            return f"map of {_kind(info.value_type)}"
        case inspect.StrType():
            return "name" if info.pattern == NAME_PATTERN else "text"
        case inspect.FloatType():
            return "seconds"
        case inspect.IntType():
            return "whole number" + _bounds(info)
    return {"BoolType": "true or false", "NoneType": "null"}.get(type(info).__name__, "anything")


def _bounds(info: Any) -> str:
    low = f", at least {info.ge}" if info.ge is not None else ""
    return low + (f", at most {info.le}" if info.le is not None else "")


# errors


def error_tree() -> str:
    """Return the tree of errors as their module draws it."""
    doc = (errors.__doc__ or "").split("::\n")[1]
    lines = [line[4:] for line in doc.splitlines() if line.startswith("    ")]
    return "\n".join(["```text", *lines, "```"])


def error_table() -> str:
    """Return the table of errors with codes and meanings."""
    rows = ["| error | code | kind of | meaning |", "|---|---|---|---|"]
    for name, cls in vars(errors).items():
        if isinstance(cls, type) and issubclass(cls, errors.IonError):
            meaning = " ".join((cls.__doc__ or "").partition("\n\n")[0].split())
            bases = ", ".join(f"`{base.__name__}`" for base in cls.__bases__)
            code = cls.default_code
            rows.append(f"| `{name}` | {code} | {bases} | {meaning.replace('``', '`')} |")
    return "\n".join(rows)


# machines


def diagram(machine: MachineSpec) -> Callable[[], str]:
    """Return what draws a machine."""
    return lambda: f"```mermaid\n{machine.mermaid()}\n```"


# supervision


def supervision_rules() -> str:
    """Return the rules as their package tells them: its tables and its list."""
    doc = (getdoc(supervision) or "").partition("\n\n")[2].partition("\n\n")[2]
    parts = re.split(r"\n\n", doc)
    return "\n\n".join(_table(part) if part.startswith("===") else part for part in parts).replace(
        "``", "`"
    )


def _table(text: str) -> str:
    """Return a simple table of a docstring in Markdown; what has no first cell goes on above."""
    bars, *lines = text.splitlines()
    spans = [match.span() for match in re.finditer("=+", bars)]
    rows: list[list[str]] = []
    for line in lines:
        if line.startswith("==="):
            continue
        ends = [start for start, _ in spans[1:]] + [None]
        cells = [line[start:end].strip() for (start, _), end in zip(spans, ends, strict=True)]
        if cells[0]:
            rows.append(cells)
        else:
            rows[-1] = [f"{a} {b}".strip() for a, b in zip(rows[-1], cells, strict=True)]
    rows.insert(1, ["---"] * len(spans))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


# the agent


def agent_ops() -> str:
    """Return the table of the ops of an agent."""
    rows = ["| op | takes | | what it does |", "|---|---|---|---|"]
    for name, op in sorted(ContainerAgent.ops.items()):
        marks = {"a command": op.is_command, "a stream": op.streams}
        mark = ", ".join(word for word, is_so in marks.items() if is_so)
        takes = ", ".join(
            f"`{p.name}: {p.type.replace('typing.Any', 'any')}`"
            + ("" if p.required else f" = `{json.dumps(p.default)}`")
            for p in op.parameters
        )
        rows.append(f"| `{name}` | {takes.replace('|', 'or')} | {mark} | {_prose(op.doc)} |")
    return "\n".join(rows)


def agent_reports() -> str:
    """Return the tables of what an agent answers: the reports, and what they hold."""
    parts = []
    for report in _held(REPORTS.values()):
        first, _, rest = (getdoc(report) or "").partition("\n\n")
        notes = rest.partition(":param")[0].strip()
        text = _prose(" ".join(f"{first}\n{notes}".split()))
        rows = [f"### {report.__name__}", "", text, "", "| key | type | meaning |", "|---|---|---|"]
        meanings = dict(_PARAM.findall(report.__doc__ or ""))
        for field in msgspec.structs.fields(report):
            meaning = _prose(" ".join(meanings[field.name].split()))
            rows.append(
                f"| `{field.encode_name}` | {_shape(inspect.type_info(field.type))} | {meaning} |"
            )
        parts.append("\n".join(rows))
    return "\n\n".join(parts)


def _held(reports: Iterable[type]) -> list[type]:
    """Return the reports, each followed by those that stand in it."""
    found: dict[type, None] = {}
    for report in reports:
        found[report] = None
        inner = [_struct_in(inspect.type_info(f.type)) for f in msgspec.structs.fields(report)]
        found.update(dict.fromkeys(_held(each for each in inner if each is not None)))
    return list(found)


def _struct_in(info: Any) -> type | None:
    match info:
        case inspect.StructType():
            return info.cls
        case inspect.ListType():
            return _struct_in(info.item_type)
        case inspect.UnionType():
            return next((s for each in info.types if (s := _struct_in(each)) is not None), None)
    return None


def _shape(info: Any) -> str:
    """Say in words what a field of a report holds."""
    match info:
        case inspect.StructType():
            return info.cls.__name__
        case inspect.UnionType():
            return " or ".join(_shape(each) for each in info.types)
        case inspect.ListType():
            return f"list of {_shape(info.item_type)}"
        case inspect.DictType():
            return f"map of {_shape(info.value_type)}"
        case inspect.FloatType():
            return "number"
    return _kind(info)


def _prose(text: str) -> str:
    return text.replace("``", "`")


GENERATED: dict[str, Callable[[], str]] = {
    "settings": settings,
    "error-tree": error_tree,
    "error-table": error_table,
    "lifecycle": diagram(LIFECYCLE),
    "rpc": diagram(RPC.machine),
    "request": diagram(REQUEST_PROTOCOL.machine),
    "stream": diagram(STREAM.machine),
    "generic": diagram(GENERIC.machine),
    "one-way": diagram(ONE_WAY.machine),
    "agent-ops": agent_ops,
    "agent-reports": agent_reports,
    "supervision": diagram(SUPERVISION),
    "instrument": diagram(INSTRUMENT),
    "supervision-rules": supervision_rules,
    "faults": faults_table,
}


def renewed(text: str) -> str:
    """Return a page with its generated parts made anew."""
    return _PLACE.sub(lambda found: f"{found[1]}{GENERATED[found[2]]()}\n{found[3]}", text)


def pages() -> Iterator[tuple[Path, str]]:
    """Give the pages that hold something generated, and their text."""
    for path in (*sorted(REFERENCE.glob("*.md")), *sorted(EXPLANATION.glob("*.md"))):
        text = path.read_text(encoding="utf-8")
        if _PLACE.search(text):
            yield path, text


def main() -> int:
    """Write what differs."""
    for path, text in pages():
        new = renewed(text)
        if new != text:
            path.write_text(new, encoding="utf-8")
            print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
