"""The sides: containers that know nobody, that check tokens, and that decide by rules as well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.payload import record
from ion import Container, Service, ServiceClient
from ion.process.identity.issuer import Issuer
from ion.process.identity.keys import derived, written

KEY = "5a" * 32  # the key of the system of both sides, on a private broker
PLAIN, IDENTITY, POLICY = "plain", "identity", "policy"
SIDES = (PLAIN, IDENTITY, POLICY)
RULES = 100


class Echo(Service, name="echo", version="1.0.0"):
    """Gives back what it is given."""

    async def op_echo(self, content: dict[str, Any]) -> dict[str, Any]:
        return content


def rules(folder: Path) -> Path:
    """Write a file of as many rules as a small observatory has; the last one is that of the op."""
    others = [f"  - {{allow: 'service-{n}.*', to: [OPERATOR]}}" for n in range(RULES - 1)]
    head = ["type: policy", "roles: {ADMIN: [OPERATOR], OPERATOR: []}", "rules:"]
    path = folder / "policy.yml"
    path.write_text("\n".join([*head, *others, "  - {allow: echo.*, to: [OPERATOR]}"]))
    return path


def container(url: str, side: str, folder: Path) -> Container:
    """Return a container of a side, which has a system of its own; its calls bear a token."""
    config: dict[str, Any] = {"logging.level": "WARNING", "agent.key": KEY}
    system = f"bench-{side}"
    if side == PLAIN:
        return Container(url, sysname=system, config={**config, "identity.verify": "off"})
    config["identity.verify"] = "required"
    issuer = Issuer(derived(bytes.fromhex(KEY), system), system, "bench")
    config["identity.keys"] = [written(issuer.public.key)]
    if side == POLICY:
        config |= {"policy.file": str(rules(folder)), "policy.default": "deny"}
    token = issuer.token("ann", ["ADMIN"], life=3600.0)
    return Container(url, sysname=system, config=config, token=token)


def call_of(caller: Container) -> Any:
    """Return the call that is measured."""
    content, echo = record(), ServiceClient("echo", caller)
    return lambda: echo.echo(content=content)
