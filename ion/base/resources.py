"""Find the files that come with the package: apps, rels, default configuration.

Contract: in a wheel they are the folder ``res`` inside the package, in a checkout (and an editable
install) the folder ``res`` beside it.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def resource_folder() -> Path:
    """Return the folder of resources; it need not exist."""
    inside = _PACKAGE / "res"
    in_checkout = (_PACKAGE.parent / "pyproject.toml").is_file()
    return _PACKAGE.parent / "res" if in_checkout and not inside.is_dir() else inside
