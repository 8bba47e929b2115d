"""A running system as its containers describe it: processes, services, apps, nodes.

Each container answers with one map (:mod:`ion.container.agent.agent`); what is listed here is taken
from those maps alone, so that an older or newer container can be listed too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ion.process.discovery import AGENTS, gather_info, survey
from ion.process.endpoint.endpoint import Endpoint
from ion.shell.render import Table, local_moment

ANSWERS_WITHIN = 1.0  # seconds; a container answers in milliseconds

TYPE_WIDTH = 40
_DOTTED = re.compile(r"\b(?:[a-z_]\w*\.)+(?=[A-Za-z_])")

Info = Mapping[str, Any]
Rows = list[dict[str, Any]]


async def ask(endpoint: Endpoint, timeout: float = ANSWERS_WITHIN) -> list[dict[str, Any]]:
    """Return the answers of all containers of the endpoint's system, in order of their ids.

    :param timeout: longest wait, seconds.
    """
    infos = await gather_info(endpoint, timeout)
    return sorted(infos, key=lambda info: str(info.get("container", "")))


async def present(endpoint: Endpoint, timeout: float = ANSWERS_WITHIN) -> list[str]:
    """Return the ids of all containers of the endpoint's system that answer, in order.

    :param timeout: longest wait, seconds.
    :raises Unavailable: the broker is away.
    """
    answers = await survey(endpoint, AGENTS, "ping", {}, timeout)
    return sorted(
        {str(a["container"]) for a in answers if isinstance(a, dict) and "container" in a}
    )


def processes(infos: Sequence[Info]) -> Rows:
    """Return one row a process."""
    return [
        {**process, "container": info.get("container")}
        for info in infos
        for process in info.get("processes", [])
    ]


def services(infos: Sequence[Info]) -> Rows:
    """Return one row a service and version, with its instances in all containers."""
    merged: dict[tuple[str, str], dict[str, Any]] = {}
    for info in infos:
        for service in info.get("services", []):
            key = str(service.get("name", "")), str(service.get("version", ""))
            row = merged.setdefault(key, {**service, "instances": 0, "pids": [], "containers": []})
            row["instances"] += service.get("instances", 0)
            row["pids"] += service.get("pids", [])
            row["containers"].append(info.get("container"))
    return [merged[key] for key in sorted(merged)]


def apps(infos: Sequence[Info]) -> Rows:
    """Return one row an app and container."""
    return [
        {**app, "container": info.get("container")}
        for info in infos
        for app in info.get("apps", [])
    ]


def nodes(infos: Sequence[Info]) -> Rows:
    """Return one row a container: what it says of itself, and how much runs in it."""
    lists = ("processes", "services", "apps", "names")
    rows = []
    for info in infos:
        row = {key: value for key, value in info.items() if key not in lists}
        row["apps"] = [app.get("name") for app in info.get("apps", [])]
        row["processes"] = len(info.get("processes", []))
        rows.append(row)
    return rows


def names(infos: Sequence[Info]) -> Rows:
    """Return one row a messaging name: queue, key and what it is for."""
    return [
        {**name, "container": info.get("container")}
        for info in infos
        for name in info.get("names", [])
    ]


def processes_table(rows: Rows) -> Table:
    """Return processes as people read them; ``kind`` is the class without its module."""
    shown = [{**row, "kind": str(row.get("class", "")).rpartition(":")[2]} for row in rows]
    is_known = all(row.get("service") in {None, "", row.get("name")} for row in rows)
    service = () if is_known else ("service",)  # what its name says, as a rule
    columns = ("pid", "name", "kind", "state", *service, "mailbox", "handled", "restarts")
    return Table(columns, shown, _count(rows, "process", "processes"))


def services_table(rows: Rows) -> Table:
    """Return services as people read them: ops with their parameters."""
    shown = [{**row, "ops": [signature(n, o) for n, o in _ops(row).items()]} for row in rows]
    columns = ("name", "version", "instances", "ops")
    return Table(columns, shown, _count(rows, "service", "services"))


def ops_table(rows: Rows) -> Table:
    """Return the ops of services as people read them, with the first line of their docstrings."""
    ops = [(name, op) for row in rows for name, op in _ops(row).items()]
    shown = [
        {"op": signature(name, op), "effect": str(op.get("doc") or "").partition("\n")[0]}
        for name, op in ops
    ]
    return Table(("op", "effect"), shown, _count(shown, "op", "ops"))


def apps_table(rows: Rows) -> Table:
    """Return apps as people read them."""
    columns = ("name", "version", "state", "processes", "restarts", "container")
    shown = [{**row, "processes": _size(row.get("processes"))} for row in rows]
    return Table(columns, shown, _count(rows, "app", "apps"))


def nodes_table(rows: Rows) -> Table:
    """Return containers as people read them."""
    columns = ["container", "host", "os pid", "state", "version", "started", "apps", "processes"]
    if any(row.get("reason") for row in rows):
        columns += ["since", "reason"]
    times = ("started", "since")
    shown = [
        {**row, "os pid": row.get("pid"), **{key: local_moment(row.get(key)) for key in times}}
        for row in rows
    ]
    return Table(tuple(columns), shown, _count(rows, "container", "containers"))


def names_table(rows: Rows) -> Table:
    """Return messaging names as people read them."""
    return Table(("queue", "key", "kind"), rows, _count(rows, "name", "names"))


def signature(name: str, op: Mapping[str, Any]) -> str:
    """Return an op as it is called: ``hello(text: str = 'Hi there')``."""
    params = []
    for param in op.get("params", []):
        text = f"{param.get('name')}: {_shortened(str(param.get('type') or 'any'))}"
        params.append(text if param.get("required") else f"{text} = {param.get('default')!r}")
    return f"{name}({', '.join(params)})"


def _shortened(type_: str) -> str:
    """Return an annotation as it fits into a line: dotted names by their last word."""
    short = _DOTTED.sub("", type_)
    return short if len(short) <= TYPE_WIDTH else f"{short[: TYPE_WIDTH - 1]}…"


@dataclass(frozen=True)
class Listing:
    """One of the listing commands: rows for programs, a table of them for people."""

    rows: Callable[[Sequence[Info]], Rows]
    draw: Callable[[Rows], Table]

    def table(self, infos: Sequence[Info]) -> Table:
        """Return the table of what ``infos`` tell."""
        return self.draw(self.rows(infos))


LISTINGS = {
    "ps": Listing(processes, processes_table),
    "services": Listing(services, services_table),
    "apps": Listing(apps, apps_table),
    "nodes": Listing(nodes, nodes_table),
}


def _ops(row: Mapping[str, Any]) -> Mapping[str, Any]:
    ops = row.get("ops")
    return ops if isinstance(ops, Mapping) else {}


def _count(rows: Rows, one: str, many: str) -> str:
    return f"{len(rows)} {one if len(rows) == 1 else many}"


def _size(value: Any) -> Any:
    return len(value) if isinstance(value, list) else value
