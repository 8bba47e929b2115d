"""Checks that need nobody else: settings, Python, limits and files of this machine."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ion.base.errors import Unavailable
from ion.base.plugin import installed
from ion.messaging import runtime_file as runtime
from ion.shell.doctor.context import Context, NotLooked
from ion.shell.doctor.diagnosis import Diagnosis, found
from ion.shell.render import to_json

PACKAGE = "ioncore"
MIN_FILES = 1024
MIN_FREE = 100 << 20  # bytes
_SQLITE = "sqlite:///"
_MAGIC = b"SQLite format 3\0"
_ENVIRONMENT = "environment "


def settings(context: Context) -> Iterator[Diagnosis]:
    """Files, variables and options say what settings are, and nothing else."""
    for finding in context.findings:
        yield found("configuration", str(finding))
    for name in context.configuration.unknown_variables:
        yield found("unknown-variable", f"environment {name} means nothing to ION", f"unset {name}")


def overrides(context: Context) -> Iterator[Diagnosis]:
    """No variable hides what a file says."""
    for one in context.configuration.explanations():
        if not one.origin.startswith(_ENVIRONMENT):
            continue
        for value, origin in one.overridden:
            if ":" in origin and value != one.value:
                message = (
                    f"{one.key} is {to_json(one.value)} by {one.origin}, over {to_json(value)} "
                    f"from {origin}"
                )
                yield found(
                    "setting-overridden", message, f"unset {one.origin.removeprefix(_ENVIRONMENT)}"
                )


def packages(context: Context) -> Iterator[Diagnosis]:
    """Python and the packages that ION needs have the versions it was made for."""
    del context
    try:
        from packaging.requirements import Requirement
        from packaging.specifiers import SpecifierSet
    except ImportError:
        message = "the package packaging is not installed"
        raise NotLooked(message) from None
    own = installed(PACKAGE)
    if own is None:
        message = f"{PACKAGE} runs from a folder, without what an installed package says of itself"
        raise NotLooked(message)
    python = platform.python_version()
    if not SpecifierSet(own.python).contains(python, prereleases=True):
        yield found("python", f"this is Python {python}; ION needs {own.python}")
    for text in own.requires:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        there = installed(requirement.name)
        remedy = f"pip install '{requirement.name}{requirement.specifier}'"
        if there is None:
            yield found("dependency", f"{requirement.name} is not installed", remedy)
        elif not requirement.specifier.contains(there.version, prereleases=True):
            message = f"{requirement.name} is {there.version}; ION needs {requirement.specifier}"
            yield found("dependency", message, remedy)


def file_descriptors(context: Context) -> Iterator[Diagnosis]:
    """Enough files may be open."""
    del context
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < MIN_FILES:
        message = f"an OS process may open {soft} files here; {MIN_FILES} are little for a busy one"
        reachable = hard == resource.RLIM_INFINITY or hard >= MIN_FILES
        yield found("file-descriptors", message, "ulimit -n 4096" if reachable else "")


def data_folder(context: Context) -> Iterator[Diagnosis]:
    """The folder of the store's file can be written to, and has room."""
    store = _store_of(context)
    folder = next(path for path in store.parents if path.exists())
    try:
        tempfile.TemporaryFile(dir=folder).close()  # leaves nothing
    except OSError as error:
        message = f"nothing can be kept at {store}: {folder}: {error.strerror}"
        yield found("data-folder", message)
        return
    free = shutil.disk_usage(folder).free
    size = store.stat().st_size if store.is_file() else 0
    if free < max(MIN_FREE, size // 10):
        yield found(
            "disk-space", f"{free >> 20} MiB are free at {folder}; the store has {size >> 20} MiB"
        )


def store_file(context: Context) -> Iterator[Diagnosis]:
    """The file of the store is one, and can be written to."""
    store = _store_of(context)
    if not os.path.lexists(store):
        return
    try:
        with store.open("r+b") as file:  # as the store does; nothing is written
            begin = file.read(len(_MAGIC))
    except OSError as error:
        yield found("store-file", f"the store {store} cannot be written to: {error.strerror}")
    else:
        if begin and begin != _MAGIC:
            yield found("store-file", f"the store {store} is no SQLite file")


def runtime_folder(context: Context) -> Iterator[Diagnosis]:
    """The folder where ``local://`` looks is this user's alone."""
    del context
    named = os.environ.get("XDG_RUNTIME_DIR", "")
    if named and not runtime.is_own(Path(named)):
        there = "is not this user's alone" if Path(named).exists() else "is not there"
        message = (
            f"XDG_RUNTIME_DIR names {named}, which {there}: {runtime.folder()} is used instead"
        )
        yield found("runtime-folder", message, f"mkdir -p {named}; chmod 700 {named}")
    folder = runtime.folder()
    if os.path.lexists(folder) and not runtime.is_own(folder):
        message = f"{folder} is not this user's alone: nothing is looked for there"
        yield found("runtime-folder", message, f"chmod 700 {folder}")


def runtime_file(context: Context) -> Iterator[Diagnosis]:
    """The runtime file is of a container that lives."""
    path = runtime.folder() / f"{context.sysname}.json"
    try:
        said = runtime.claimed(context.sysname)
    except Unavailable as error:
        yield found("runtime-file", error.message, f"rm {path}")
        return
    if said is None and path.exists():
        yield found("runtime-file", f"the runtime file {path} is not whole", f"rm {path}")
    elif said is not None and not runtime.is_running(said.pid):
        message = f"the runtime file {path} is of process {said.pid}, which is gone"
        yield found("runtime-file", message, f"rm {path}")


def _store_of(context: Context) -> Path:
    """Return the file of the store.

    :raises NotLooked: the store is no file.
    """
    url = context.settings.store_url()
    if not url.startswith(_SQLITE):
        message = f"the store is no file, but {url.partition(':')[0]}"
        raise NotLooked(message)
    return Path(url.removeprefix(_SQLITE)).absolute()
