from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tools.lowest_requirements import PACKAGES, constraints, requirements_of_tests

if TYPE_CHECKING:
    from pathlib import Path


def _project(folder: Path, name: str, dependencies: list[str], extra: str = "orjson>=3.10") -> Path:
    file = folder / f"{name}.toml"
    lines = ["[project]", f'name = "{name}"', f"dependencies = {dependencies!r}"]
    file.write_text("\n".join([*lines, "[project.optional-dependencies]", f'fast = ["{extra}"]']))
    return file


def test_every_dependency_is_held_at_its_lower_bound(tmp_path: Path) -> None:
    one = _project(tmp_path, "one", ["two[fast]==1.0.0.dev0", "msgpack>=1.1", "aio-pika[x] >= 10.2, <11"])
    two = _project(tmp_path, "two", ["msgpack>=1.1"], "uvloop>=0.21; sys_platform != 'win32'")
    assert list(constraints([one, two])) == [
        "msgpack==1.1",
        "aio-pika==10.2",
        "orjson==3.10",
        "uvloop==0.21; sys_platform != 'win32'",
    ]


def test_a_dependency_without_a_lower_bound(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'msgpack<2' has no lower bound"):
        list(constraints([_project(tmp_path, "one", ["msgpack<2"])]))


def test_two_packages_with_different_bounds(tmp_path: Path) -> None:
    files = [_project(tmp_path, "one", ["msgpack>=1.1"]), _project(tmp_path, "two", ["msgpack>=1.2"])]
    with pytest.raises(ValueError, match=r"msgpack==1\.1 and msgpack==1\.2"):
        list(constraints(files))


def test_what_the_tests_need_counts_where_it_is_later(tmp_path: Path) -> None:
    one = _project(tmp_path, "one", ["pytest-asyncio>=0.24", "pytest>=8.4"])
    found = list(constraints([one], ["pytest-asyncio>=1.1", "pytest>=8", "ruff>=0.12"]))
    assert found == ["pytest-asyncio==1.1", "pytest==8.4", "orjson==3.10"]


def test_the_packages_of_this_repository() -> None:
    found = list(constraints(sorted(PACKAGES.glob("*/pyproject.toml")), requirements_of_tests()))
    assert any(one.startswith("aiormq==") for one in found)
    assert not any(one.startswith("rabibridge") for one in found)
