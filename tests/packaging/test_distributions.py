from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement

if TYPE_CHECKING:
    from pathlib import Path

    from tests.packaging.conftest import Member

_BUILD_TIMEOUT = 100


def test_no_two_distributions_share_an_import_folder(members: dict[str, Member]) -> None:
    folders = [
        folder.name
        for member in members.values()
        for folder in (member.folder / "src").iterdir()
        if folder.is_dir() and not folder.name.endswith(".egg-info")
    ]
    assert sorted(folders) == sorted(member.import_name for member in members.values())


def test_every_distribution_is_typed(member: Member) -> None:
    assert (member.folder / "src" / member.import_name / "py.typed").is_file()
    assert "Typing :: Typed" in member.project["classifiers"]


def test_every_distribution_carries_the_licence(member: Member, root: Path) -> None:
    # A link would dangle in the source distribution.
    assert not (member.folder / "LICENSE").is_symlink()
    assert (member.folder / "LICENSE").read_bytes() == (root / "LICENSE").read_bytes()


def test_all_distributions_have_one_version(members: dict[str, Member]) -> None:
    assert len({member.project["version"] for member in members.values()}) == 1


def test_arrows_point_to_core_only(members: dict[str, Member]) -> None:
    needs = {
        name: {need for need in map(_name, member.project["dependencies"]) if need in members}
        for name, member in members.items()
    }
    assert needs == {
        "rabibridge-core": set(),
        "rabibridge-rabbitmq": {"rabibridge-core"},
        "rabibridge-redis": {"rabibridge-core"},
        "rabibridge-telemetry": {"rabibridge-core"},
        "rabibridge-testing": {"rabibridge-core"},
    }


def test_members_need_exactly_the_version_of_core_beside_them(members: dict[str, Member]) -> None:
    # They import private packages of core, which may change with every version.
    exact = f"=={members['rabibridge-core'].project['version']}"
    for name in ("rabibridge-rabbitmq", "rabibridge-redis", "rabibridge-telemetry", "rabibridge-testing"):
        needs = map(Requirement, members[name].project["dependencies"])
        assert [str(need.specifier) for need in needs if need.name == "rabibridge-core"] == [exact]


def test_reloading_works_with_rabibridge_rabbitmq_alone(members: dict[str, Member]) -> None:
    assert "reload" in members["rabibridge-core"].project["optional-dependencies"]
    needs = map(Requirement, members["rabibridge-rabbitmq"].project["dependencies"])
    assert [need.extras for need in needs if need.name == "rabibridge-core"] == [{"reload"}]


def test_the_entry_points_are_installed() -> None:
    broken = []
    for group in ("rabibridge", "pytest11", "console_scripts"):
        for entry_point in importlib.metadata.entry_points(group=group):
            if entry_point.dist is not None and entry_point.dist.name.startswith("rabibridge-"):
                try:
                    entry_point.load()
                except (ImportError, AttributeError) as error:
                    broken.append(f"{group}: {entry_point.name}: {error}")
    assert broken == []
    assert {each.name for each in importlib.metadata.entry_points(group="rabibridge")} >= {
        "rabbitmq",
        "redis",
        "memory",
        "opentelemetry",
    }


@pytest.mark.slow
def test_installing_the_root_fails_loudly(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--editable", str(root), "--target", str(tmp_path), "--no-deps"]
    # Without build isolation nothing is fetched, so that this shows the refusal and no network trouble.
    done = subprocess.run([*command, "--no-build-isolation"], capture_output=True, text=True, timeout=_BUILD_TIMEOUT)
    assert done.returncode != 0
    assert "project" in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


def _name(requirement: str) -> str:
    return Requirement(requirement).name
