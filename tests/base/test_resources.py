"""The files that come with the package are found in a checkout and in an installed package."""

from __future__ import annotations

from pathlib import Path

import pytest

from ion.base import resources


def test_in_a_checkout() -> None:
    assert (resources.resource_folder() / "config" / "ion.yml").is_file()


def test_in_an_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "ion")
    assert resources.resource_folder() == tmp_path / "ion" / "res"
    (tmp_path / "pyproject.toml").touch()
    assert resources.resource_folder() == tmp_path / "res"
    (tmp_path / "ion" / "res").mkdir(parents=True)
    assert resources.resource_folder() == tmp_path / "ion" / "res"
