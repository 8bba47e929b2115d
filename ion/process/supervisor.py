"""The supervisor: a process that starts others, and keeps them running."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from ion.base.errors import ApplicationError, ConfigurationError, LifecycleError
from ion.process.ops import command
from ion.process.supervision.actions import Action
from ion.process.supervision.children import Phase
from ion.process.supervision.decisions import Supervision
from ion.process.supervision.executor import Executor
from ion.process.supervision.requests import DOWN, UP
from ion.process.supervision.spec import ChildSpec, Flags, child_of, flags_of, wrong

CONFLICT = 409
T = TypeVar("T")


class Supervisor(Executor):
    """Starts its children in order, restarts those that fail, and stops them in reverse.

    As a class::

        class Station(Supervisor):
            flags = Flags(strategy="rest_for_one", intensity=3)
            children = (ChildSpec(id="port", target=Port), ChildSpec(id="log", target=Logger))

    or as data, which may also nest supervisors::

        await container.spawn(
            Supervisor,
            args={"strategy": "rest_for_one", "children": [{"id": "port", "class": "lab:Port"}]},
        )

    It is ACTIVE when its children are; where one does not come up, its start fails. When children
    fail more often than ``intensity`` in ``period`` seconds, it ends them all and fails itself. The
    rules are in docs/explanation/supervision.md.

    :param children: in place of the class's: specs, or maps of their fields.
    :param template: of a pool's children: a spec; each child has an id and args of its own.
    :param flags: fields of :class:`Flags`, in place of the class's.
    :raises ConfigurationError: a child or flag is wrong; the message names the key.
    """

    concurrency = 64
    flags: Flags = Flags()
    children: Sequence[ChildSpec | Mapping[str, Any]] = ()
    template: ChildSpec | Mapping[str, Any] | None = None

    def __init__(
        self,
        children: Iterable[ChildSpec | Mapping[str, Any]] | None = None,
        *,
        template: ChildSpec | Mapping[str, Any] | None = None,
        **flags: Any,
    ) -> None:
        own = msgspec.structs.asdict(self.flags)
        self.flags = flags_of({**own, **flags})
        given = self.children if children is None else children
        specs = tuple(child_of(child) for child in given)
        self.children = specs
        template = self.template if template is None else template
        self.template = None if template is None else child_of(template)
        self._serial = 0
        self._drive(Supervision(self.flags, specs))

    # what may be asked of it

    async def start_child(self, spec: ChildSpec | Mapping[str, Any]) -> str:
        """Start one more child, as the last one, and return its pid once it is ACTIVE.

        The pid is "" where it has ended itself in a hook of its start: it has declined.

        :raises ConfigurationError: the spec is wrong, or its id is taken.
        :raises LifecycleError: it did not come up, and is forgotten; or this supervisor ends.
        """
        child = child_of(spec)
        return await self._ask_up(child.id, self._core.add(child, self._now()))

    async def start_one(self, id: str = "", args: Mapping[str, Any] | None = None) -> str:
        """Start a child of the pool's template, and return its pid; errors as of start_child.

        :param id: made up where it is not given.
        :param args: laid over those of the template.
        """
        template = self.template
        if not isinstance(template, ChildSpec):
            message = "template: this supervisor has none; give the child's class"
            raise wrong(message, "template")
        self._serial += 1
        name = id or f"{template.id}-{self._serial}"
        together = {**template.args, **(args or {})}
        return await self.start_child(msgspec.structs.replace(template, id=name, args=together))

    async def terminate_child(self, id: str) -> None:
        """Take a child down, until :meth:`restart_child`; a temporary or a pool's is forgotten.

        :raises LifecycleError: there is none, or this supervisor ends.
        """
        self._asks_for(id)
        await self._ask_down(id, self._core.terminate(id, self._now()))

    async def restart_child(self, id: str) -> str:
        """Start a child that is down, or end and start one that is up; return its new pid.

        One that waits to be restarted is started now. The state of one that has ``get_state`` and
        was up, or was taken down on request, is handed over.

        :raises LifecycleError: there is none, it did not come up, or this supervisor ends.
        """
        self._asks_for(id)
        return await self._ask_up(id, self._core.restart(id, self._now()))

    async def delete_child(self, id: str) -> None:
        """Take a child down, where it is up, and forget it.

        :raises LifecycleError: there is none, or this supervisor ends.
        """
        await self._ask_down(id, self._core.remove(id, self._now()))

    def which_children(self) -> list[dict[str, Any]]:
        """Return the children in the order of starts: id, pid, class, phase, restart, restarts."""
        return [self._described(each) for each in self._core.ids]

    def count_children(self) -> dict[str, int]:
        """Return how many are known, up (``active``), supervisors, and others (``workers``)."""
        ids = self._core.ids
        active = sum(self._core.phase_of(each) is Phase.UP for each in ids)
        supervisors = sum(self._is_supervisor(each) for each in ids)
        return {
            "specs": len(ids),
            "active": active,
            "supervisors": supervisors,
            "workers": len(ids) - supervisors,
        }

    # the same over the bus

    async def op_which_children(self) -> list[dict[str, Any]]:
        """Return the children: id, pid, class, phase, restart, restarts."""
        return self.which_children()

    async def op_count_children(self) -> dict[str, int]:
        """Return how many children are known, active, supervisors and workers."""
        return self.count_children()

    @command
    async def op_start_child(
        self,
        id: str = "",
        target: str = "",
        args: dict[str, Any] = {},  # noqa: B006 - is not changed
        restart: str = "permanent",
        shutdown: float | None = 5.0,
        significant: bool = False,
    ) -> str:
        """Start one more child, of a class or of the pool's template; return its pid."""
        if not target:
            return await _answered(self.start_one(id, args))
        spec = {
            "id": id,
            "target": target,
            "args": args,
            "restart": restart,
            "shutdown": shutdown,
            "significant": significant,
        }
        return await _answered(self.start_child(spec))

    @command
    async def op_terminate_child(self, id: str) -> None:
        """Take a child down, until a restart of it is asked for."""
        await _answered(self.terminate_child(id))

    @command
    async def op_restart_child(self, id: str) -> str:
        """Start a child that is down, or end and start one that is up; return its new pid."""
        return await _answered(self.restart_child(id))

    @command
    async def op_delete_child(self, id: str) -> None:
        """Take a child down and forget it."""
        await _answered(self.delete_child(id))

    def describe(self) -> dict[str, Any]:
        """Return what ``ioncc ps`` shows of it."""
        strategy = self.flags.strategy
        return {**super().describe(), "strategy": strategy, "children": len(self._core.ids)}

    # requests

    def _asks_for(self, id: str) -> None:
        """Have the state of a child handed over when it goes down."""
        instance = self._instances.get(id)
        if instance is not None:
            instance.is_asked = True

    async def _ask_up(self, id: str, actions: list[Action]) -> str:
        future = self._requests.add(id, UP)
        self._act(actions)
        await future
        instance = self._instances.get(id)
        return instance.pid if instance is not None else ""

    async def _ask_down(self, id: str, actions: list[Action]) -> None:
        future = self._requests.add(id, DOWN)
        self._act(actions)
        if not self._core.knows(id) or self._is_down(id):
            self._requests.met(id, DOWN)
            self._requests.failed(id, f"child {id!r} was taken down before it came up")
        await future

    # for people

    def _described(self, id: str) -> dict[str, Any]:
        spec, phase = self._core.spec_of(id), self._core.phase_of(id)
        instance = self._instances.get(id)
        target = spec.target
        waits = self._core.is_waiting(id)
        return {
            "id": id,
            "pid": instance.pid if instance is not None and phase is Phase.UP else None,
            "class": target if isinstance(target, str) else _dotted(target),
            "phase": "waiting" if waits else phase.value,
            "restart": spec.restart,
            "restarts": max(self._starts.get(id, 0) - 1, 0),
            "kind": "supervisor" if self._is_supervisor(id) else "worker",
        }

    def _is_supervisor(self, id: str) -> bool:
        instance = self._instances.get(id)
        target = self._core.spec_of(id).target
        if instance is not None and instance.process is not None:
            return isinstance(instance.process, Supervisor)
        return isinstance(target, type) and issubclass(target, Supervisor)


async def _answered(work: Coroutine[Any, Any, T]) -> T:
    """Await ``work``; what is wrong with a request is the caller's."""
    try:
        return await work
    except ConfigurationError as error:
        raise ApplicationError(error.message, details=error.details) from error
    except LifecycleError as error:
        raise ApplicationError(error.message, code=CONFLICT, type="LifecycleError") from error


def _dotted(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"
