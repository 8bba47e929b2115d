"""App files: what to start, with what arguments and settings, as data.

The keys are those of the original, and four new ones (``processes``, ``supervision``,
``start_type``, ``failover``). Contract: a spec that was loaded is well-formed; everything wrong in
a file is said in one ConfigurationError with file, line and key. Nothing is imported here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from ion.base.builder import KeyPath, dotted
from ion.base.document import Document, read
from ion.base.errors import ConfigurationError
from ion.base.findings import Finding, error_of, raise_errors
from ion.base.plugin import resolve
from ion.base.schema import Fault, check
from ion.base.settings import Seconds, Word
from ion.container.apps.lookup import APP, find
from ion.container.apps.mod import ModSpec, mod_of, name_faults
from ion.process.supervision.spec import AutoShutdown, Budget

__all__ = ["AppSpec", "ChildSpec", "ModSpec", "Supervision", "find", "load_app", "read_app"]

# Apps of the original that every container has built in: known names that start nothing.
BUILT_IN = frozenset({"ioncore", "ccagent"})

Lifetime = Literal["permanent", "transient", "temporary"]
GroupStrategy = Literal["one_for_one", "one_for_all", "rest_for_one"]


class ChildSpec(msgspec.Struct, frozen=True, kw_only=True, rename={"class_": "class"}):
    """A process that the app starts and supervises.

    :param id: name of the process within the app.
    :param class_: (``class`` in files) dotted name of a process class.
    :param args: for the process.
    :param restart: ``permanent`` always, ``transient`` after a failure, ``temporary`` never.
    :param shutdown: seconds that the process has to end; 0: it is ended at once; null: as many as
        its container has to drain.
    :param significant: whether its end may be the end of the app; see ``auto_shutdown``.
    """

    id: Word
    class_: str
    args: dict[str, Any] = {}
    restart: Lifetime = "permanent"
    shutdown: Budget | None = 5.0
    significant: bool = False


class BackoffSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How long a restart waits: the longer, the more often the process failed in a row.

    :param first: seconds, at most, before the first restart.
    :param factor: so many times longer before each further one.
    :param cap: never longer than that.
    :param jitter: wait for a random part of it; false: for all of it.
    :param reset: a process that was up for so long begins anew.
    """

    first: Seconds = 0.1
    factor: Annotated[float, msgspec.Meta(ge=1, le=1000)] = 2.0
    cap: Seconds = 30.0
    jitter: bool = True
    reset: Seconds = 30.0


class Supervision(msgspec.Struct, frozen=True, kw_only=True):
    """How the app's processes are kept running.

    :param strategy: which ones are restarted when one of them fails.
    :param intensity: restarts allowed within ``period``; beyond, the app fails.
    :param period: in seconds.
    :param auto_shutdown: whether the app ends when ``any_significant`` or ``all_significant``
        processes have.
    :param backoff: how long restarts wait; null: they do not.
    """

    strategy: GroupStrategy = "one_for_one"
    intensity: Annotated[int, msgspec.Meta(ge=0)] = 1
    period: Seconds = 5.0
    auto_shutdown: AutoShutdown = "never"
    backoff: BackoffSpec | None = BackoffSpec()

    def as_flags(self) -> dict[str, Any]:
        """Return what its supervisor is given."""
        flags = msgspec.structs.asdict(self)
        if self.backoff is not None:
            flags["backoff"] = msgspec.structs.asdict(self.backoff)
        return flags


class FailoverSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How another container takes the app over.

    :param grace: seconds after which it is started elsewhere when its container vanished, and for
        nearly as long its container may be without proof that it holds it; null: as the setting
        ``system.grace`` says.
    :param attempts: how often in a row it may fail within 10 seconds, wherever; then it stays down.
    """

    grace: Seconds | None = None
    attempts: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 5


_SUPERVISION = Supervision()


@dataclass(frozen=True, slots=True)
class AppSpec:
    """An app file, well-formed. Fields are the keys of the file, and ``file`` (None: from no file).

    :ivar place: where in the document the app is said; () for the whole of it.
    :ivar mod: None where the app only has ``processes`` or ``applications``.
    :ivar failover: true, or what says how, where another container shall take over.
    """

    name: str
    version: str = ""
    description: str = ""
    mod: ModSpec | None = None
    modules: tuple[str, ...] = ()
    registered: tuple[str, ...] = ()
    applications: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    processes: tuple[ChildSpec, ...] = ()
    supervision: Supervision = _SUPERVISION
    start_type: Lifetime = "temporary"
    failover: bool | FailoverSpec = False
    file: Path | None = None
    document: Document | None = field(default=None, compare=False, repr=False)
    place: KeyPath = ()

    @property
    def built_in(self) -> bool:
        """Whether it is one of the original's apps that every container is in itself."""
        return self.name in BUILT_IN

    @property
    def takeover(self) -> FailoverSpec | None:
        """How another container takes over; None where none does."""
        if isinstance(self.failover, FailoverSpec):
            return self.failover
        return FailoverSpec() if self.failover else None

    def where(self, *path: str | int) -> str:
        """Return file and line of a key, for messages."""
        if self.document is None:
            return f"app {self.name!r}"
        return f"{self.document.name}:{self.document.line_of((*self.place, *path))}"

    def finding(self, path: KeyPath, message: str, severity: str = "error") -> Finding:
        """Return a finding about a key of this app."""
        if self.document is None:
            return Finding(message, None, None, dotted(path), severity)
        return self.document.finding((*self.place, *path), message, severity)

    def resolved(self, name: str, *path: str | int) -> Any:
        """Return what a dotted name in the file names (see :func:`ion.base.plugin.resolve`).

        :param path: of the key at which it stands.
        :raises ConfigurationError: it names nothing; the message has file, line and key.
        """
        try:
            return resolve(name)
        except ConfigurationError as error:
            raise error_of([self.finding(path, error.message)]) from error


class _AppFile(msgspec.Struct, kw_only=True):
    """The keys of an app file and their types; ``mod`` has forms of its own."""

    type: Literal["application"]
    name: Word
    version: str = ""
    description: str = ""
    mod: Any = None
    modules: list[str] = []
    registered: list[str] = []
    applications: list[Word] = []
    config: dict[str, Any] = {}
    processes: list[ChildSpec] = []
    supervision: Supervision = Supervision()
    start_type: Lifetime = "temporary"
    failover: bool | FailoverSpec = False


def load_app(name_or_path: str | Path) -> AppSpec:
    """Find and read an app file.

    :raises ConfigurationError: there is none, it is a release, or anything in it is wrong.
    """
    path = find(name_or_path)
    if path.suffix != APP:
        message = f"{path} is a release, not an app"
        raise ConfigurationError(message, details={"file": str(path)})
    return read_app(path)


def read_app(path: Path) -> AppSpec:
    """Read the app file at ``path``.

    :raises ConfigurationError: anything in it is wrong; the message says all of it.
    """
    document = read(path)
    spec, findings = app_of(document, path)
    raise_errors(findings)
    assert spec is not None
    return spec


def app_of(document: Document, path: Path | None = None) -> tuple[AppSpec | None, list[Finding]]:
    """Return the app that a document says (None where it is wrong), and what is wrong with it."""
    data = document.with_texts(without_nulls(document.data), (), "version")
    faults = check(data, _AppFile)
    mod, mod_faults = mod_of(data.get("mod"), ("mod",)) if isinstance(data, Mapping) else (None, [])
    faults += mod_faults
    if not faults:
        faults += _further_faults(data)
    if faults:
        return None, [document.finding(fault.path, fault.message) for fault in faults]
    read_ = msgspec.convert(data, _AppFile)
    spec = AppSpec(
        name=read_.name,
        version=read_.version,
        description=read_.description,
        mod=mod,
        modules=tuple(read_.modules),
        registered=tuple(read_.registered),
        applications=tuple(read_.applications),
        config=read_.config,
        processes=tuple(read_.processes),
        supervision=read_.supervision,
        start_type=read_.start_type,
        failover=read_.failover,
        file=path,
        document=document,
    )
    return spec, []


def without_nulls(data: Any) -> Any:
    """Return a map without the keys that have no value; all else as it is."""
    if not isinstance(data, Mapping):
        return data
    return {key: value for key, value in data.items() if value is not None}


def _further_faults(data: Mapping[str, Any]) -> list[Fault]:
    """Return what types alone do not say."""
    faults: list[Fault] = []
    if not any(data.get(key) for key in ("mod", "processes", "applications")):
        faults.append(Fault((), "starts nothing: give 'mod', 'processes' or 'applications'"))
    if data.get("failover") not in (None, False) and data.get("start_type") != "permanent":
        message = "is for apps that are to run always: say start_type: permanent, too"
        faults.append(Fault(("failover",), message))
    seen: dict[str, int] = {}
    for index, child in enumerate(data.get("processes", ())):
        path = ("processes", index)
        faults += name_faults(child["class"], (*path, "class"))
        if child["id"] in seen:
            faults.append(Fault((*path, "id"), f"id {child['id']!r} is given twice"))
        seen[child["id"]] = index
        faults += _significant_faults(child, data.get("supervision", {}), (*path, "significant"))
    return faults


def _significant_faults(
    child: Mapping[str, Any], supervision: Mapping[str, Any], path: KeyPath
) -> list[Fault]:
    if not child.get("significant"):
        return []
    if child.get("restart", "permanent") == "permanent":
        return [Fault(path, "is for processes that may end; a permanent one is always restarted")]
    if supervision.get("auto_shutdown", "never") == "never":
        return [Fault(path, "means nothing where supervision.auto_shutdown is never")]
    return []
