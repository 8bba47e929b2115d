"""Thespian's ``simpleSystemBase``: a synchronous call, so only one is ever under way."""

from __future__ import annotations

from typing import Any

from thespian.actors import Actor, ActorSystem

from benchmarks import load, role
from benchmarks.payload import record


class Echo(Actor):  # type: ignore[misc,unused-ignore]
    """Gives back what it is given."""

    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802
        if isinstance(message, dict):
            self.send(sender, message)


def main(seconds: float) -> None:
    content = record()
    system = ActorSystem("simpleSystemBase")
    actor = system.createActor(Echo)
    assert system.ask(actor, content, role.PATIENCE) == content
    role.report(
        load.measure_all_futures(
            lambda: system.ask(actor, content, role.PATIENCE), lambda done: done, seconds, (1,)
        )
    )
    system.shutdown()


if __name__ == "__main__":
    main(role.options().seconds)
