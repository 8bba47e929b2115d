"""The folders of a user."""

from __future__ import annotations

import os
from pathlib import Path

from ion.base.errors import ConfigurationError


def data_folder() -> Path:
    """Return the folder where ION keeps a user's data, which may not be there yet.

    :raises ConfigurationError: this user has none.
    """
    home = os.environ.get("XDG_DATA_HOME")
    try:
        return Path(home, "ion") if home else Path.home() / ".local" / "share" / "ion"
    except RuntimeError as error:
        message = "this user has no home: set XDG_DATA_HOME to a folder for data"
        raise ConfigurationError(message) from error
