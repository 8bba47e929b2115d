"""How a peer's program talks with the harness: options in, ``ready`` and one line of JSON out."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

PATIENCE = 30.0  # seconds a consumer waits for what it was promised
ROLES = ("server", "client", "sub", "pub", "local")


def options(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the options of a peer's program."""
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=ROLES)
    parser.add_argument("--url", default="")
    parser.add_argument("--system", default="bench")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--window", type=int, default=0, help="one way: unconfirmed at once")
    parser.add_argument("--persistent", type=int, default=0)
    parser.add_argument("--variant", default="", help="what this row measures of the peer")
    parser.add_argument("--scale", type=float, default=1.0, help="stores: of what is large")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    return parser.parse_args(argv)


def say_ready() -> None:
    """Tell the harness that this side may be used now."""
    print("ready", flush=True)


def report(figures: Any) -> None:
    """Hand the figures to the harness."""
    print(json.dumps(figures), flush=True)


def run(main: Coroutine[Any, Any, Any], loop: str = "asyncio") -> None:
    """Run an async role on the chosen event loop; where it returns figures, report them."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        figures = runner.run(main)
    if figures is not None:
        report(figures)


async def until_stopped() -> None:
    """Return at SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()


def no_such_role(role: str) -> None:
    """End a program that was asked for a role it has not."""
    sys.exit(f"this peer has no role {role!r}")
