"""Find the file of an app or a rel by its name.

Contract: a path is taken as it is; a name is looked up in ``./res/apps``, then ``./res/deploy``,
then in the resources installed with the package. The apps that another file names are looked for
beside that file first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ion.base.errors import ConfigurationError
from ion.base.resources import resource_folder
from ion.base.schema import did_you_mean

APP = ".app"
REL = ".rel"
_FOLDERS = ("apps", "deploy")


def find(name_or_path: str | Path) -> Path:
    """Return the file of an app or rel.

    :param name_or_path: a path to a ``.app`` or ``.rel`` file, or a name with or without suffix
        (``hello`` is an app, ``hello.rel`` the release).
    :raises ConfigurationError: there is none; the message says where it was looked for.
    """
    text = os.fspath(name_or_path)
    if not text or "\0" in text:
        message = f"{text!r} names no app or rel"
        raise ConfigurationError(message, details={"name": text})
    given = Path(text)
    is_path = isinstance(name_or_path, Path) or given.name != text
    for path in _as_path(given) if is_path else _as_name(given):
        if _is_file(path):
            return path
    raise _not_found(given, is_path=is_path)


def find_app(name: str, near: Path | None = None) -> Path | None:
    """Return the file of the app that another file names, or None.

    :param near: the file that names it: its folder, and ``apps`` beside that, come first.
    """
    for folder in _app_folders(near):
        path = folder / f"{name}{APP}"
        if path.is_file():
            return path
    return None


def app_names(near: Path | None = None) -> set[str]:
    """Return the names of all apps there are, for hints."""
    return {path.stem for folder in _app_folders(near) for path in folder.glob(f"*{APP}")}


def _app_folders(near: Path | None) -> Iterator[Path]:
    if near is not None:
        yield near.parent
        yield near.parent.parent / "apps"
    for root in _roots():
        yield root / "apps"


def _roots() -> tuple[Path, Path]:
    return Path("res"), resource_folder()


def _as_path(given: Path) -> Iterator[Path]:
    if given.suffix in {APP, REL}:
        yield given
    elif given.name:  # `.` has none
        yield given.with_name(given.name + APP)
        yield given.with_name(given.name + REL)


def _as_name(given: Path) -> Iterator[Path]:
    if given.suffix in {APP, REL}:
        yield given
        for root in _roots():
            yield from (root / folder / given for folder in _FOLDERS)
    else:
        for root in _roots():
            yield root / "apps" / f"{given}{APP}"
            yield root / "deploy" / f"{given}{REL}"


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long, a folder that may not be read
        return False


def _is_there(path: Path) -> bool:
    return os.path.lexists(path)


def _not_found(given: Path, *, is_path: bool) -> ConfigurationError:
    if is_path and _is_file(given):
        message = f"{given} is neither an {APP} nor a {REL} file"
    elif given.suffix in {APP, REL} and _is_there(given):
        what = "a folder" if given.is_dir() else "a link to nothing, or no plain file"
        message = f"{given} cannot be read: it is {what}"
    elif is_path:
        message = f"there is no file {given}"
    else:
        places = ", ".join(str(root / folder) for root in _roots() for folder in _FOLDERS)
        hint = did_you_mean(str(given), _all_names(given.suffix))
        message = f"there is no app or rel {str(given)!r}{hint}; looked in {places}"
    return ConfigurationError(message, details={"name": str(given)})


def _all_names(suffix: str) -> set[str]:
    """Return what could have been written: with suffixes where there is one, else short."""
    files = [path for root in _roots() for folder in _FOLDERS for path in (root / folder).glob("*")]
    if suffix:
        return {path.name for path in files if path.suffix in {APP, REL}}
    apps = {path.stem for path in files if path.suffix == APP}
    return apps | {p.name if p.stem in apps else p.stem for p in files if p.suffix == REL}
