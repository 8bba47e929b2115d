"""Pykka: one thread an actor, ``ask()`` and its future; nothing is encoded."""

from __future__ import annotations

from typing import Any

import pykka

from benchmarks import load, role
from benchmarks.payload import record


class Echo(pykka.ThreadingActor):
    """Gives back what it is given."""

    def on_receive(self, message: Any) -> Any:
        return message


def main(seconds: float) -> None:
    content = record()
    actor = Echo.start()
    assert actor.ask(content) == content
    role.report(
        load.measure_all_futures(
            lambda: actor.ask(content, block=False),
            lambda future: future.get(timeout=role.PATIENCE),
            seconds,
        )
    )
    actor.stop()


if __name__ == "__main__":
    main(role.options().seconds)
