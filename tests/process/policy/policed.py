"""What tests of policy share: a bus, containers that decide by a file, and calls for somebody."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ion import Container
from ion.process.identity.acting import acting
from ion.process.identity.trust import issuer_of

SYSNAME = "test"
ROLES = "type: policy\nroles: {ADMIN: [OPERATOR], OPERATOR: []}\nrules:\n"


def write(path: Path, *rules: str) -> Path:
    """Write a file of rules, one a line, as a whole: a reader never sees half of it."""
    beside = path.with_suffix(".new")
    beside.write_text(ROLES + "".join(f"  - {rule}\n" for rule in rules))
    beside.replace(path)
    return path


@asynccontextmanager
async def policed(
    bus: tuple[str, dict[str, Any]], path: Path | None, **policy: Any
) -> AsyncIterator[Container]:
    """Give a running container that denies by default, and soon sees that its rules changed."""
    url, config = bus
    settings = {"file": str(path) if path else None, "default": "deny", "reload_every": 0.05}
    own = {f"policy.{name}": value for name, value in {**settings, **policy}.items()}
    config = {**config, "identity.verify": "present", **own}
    async with Container(url, sysname=SYSNAME, config=config) as container:
        yield container


def token(container: Container, actor: str, roles: Iterable[str] = (), **more: Any) -> str:
    """Return a token that the containers of the system believe."""
    issuer = issuer_of(container.endpoint.permission, container.settings.identity, SYSNAME)
    assert issuer is not None
    return issuer.token(actor, roles, **more)


async def call(
    container: Container,
    to: str,
    op: str,
    content: Any = None,
    *,
    actor: str = "",
    roles: Iterable[str] = (),
    **more: Any,
) -> Any:
    """Call an op for an actor; for nobody where none is given."""
    with acting(token(container, actor, roles, **more) if actor else ""):
        return await container.rpc_send(to, op, content or {}, 30)
