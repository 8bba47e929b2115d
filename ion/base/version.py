"""The version of ION: the one place where it is written; the package's metadata is read from it."""

from __future__ import annotations

__version__ = "0.1.0"
