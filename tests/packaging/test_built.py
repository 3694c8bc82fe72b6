"""What `make build` makes, as PyPI and an empty environment see it."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.docs.blocks import ROOT, anchors_of
from tests.packaging.conftest import MEMBERS, Member
from tools.built import IMPORTED_AS, render, wheels_of

if TYPE_CHECKING:
    from email.message import Message

_TIMEOUT = 120
_REPOSITORY = "https://github.com/GoodManWEN/RabiBridge"
_LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")
# One process for all: a source distribution of each member, and a wheel of what is in it.
_BUILD = """
import os, sys, tarfile
from hatchling import build
target, sources, *folders = sys.argv[1:]
for folder in folders:
    os.chdir(folder)
    archive = os.path.join(target, build.build_sdist(target))
    with tarfile.open(archive) as file:
        file.extractall(sources, filter="data")
    os.chdir(os.path.join(sources, os.path.basename(archive).removesuffix(".tar.gz")))
    build.build_wheel(target)
"""


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution of each member, and the wheel that was built from it."""
    pytest.importorskip("hatchling")
    target, sources = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("sources")
    folders = [str(member.folder) for member in MEMBERS.values()]
    done = subprocess.run(
        [sys.executable, "-c", _BUILD, str(target), str(sources), *folders],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return target


@pytest.fixture
def metadata(member: Member, dist: Path) -> Message:
    with zipfile.ZipFile(wheels_of(dist)[member.project["name"]]) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        return message_from_bytes(wheel.read(name))


def test_the_descriptions_render_on_pypi(dist: Path) -> None:
    pytest.importorskip("twine", reason="twine needs a later Rich than `make test-lowest` has")
    assert render(dist) == ""


def test_a_wheel_holds_the_package_its_types_and_the_licence(member: Member, dist: Path) -> None:
    with zipfile.ZipFile(wheels_of(dist)[member.project["name"]]) as wheel:
        names = wheel.namelist()
        licences = [wheel.read(name) for name in names if name.endswith("/LICENSE")]
    assert f"{member.import_name}/py.typed" in names
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {member.import_name}
    assert len(licences) == 1
    assert b"Apache License" in licences[0]


def test_a_wheel_holds_every_file_of_its_package(member: Member, dist: Path) -> None:
    source = member.folder / "src"
    with zipfile.ZipFile(wheels_of(dist)[member.project["name"]]) as wheel:
        packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    files = (path for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    assert packed == {path.relative_to(source).as_posix() for path in files}


def test_a_source_distribution_holds_no_more_than_the_package(member: Member, dist: Path) -> None:
    (archive,) = dist.glob(f"{member.project['name'].replace('-', '_')}-*.tar.gz")
    with tarfile.open(archive) as file:
        top = {name.split("/")[1] for name in file.getnames()}
    assert {"LICENSE", "PKG-INFO", "README.md", "pyproject.toml", "src"} == top - {".gitignore"}


def test_the_metadata_say_what_pypi_shows(member: Member, metadata: Message) -> None:
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("License-File") == ["LICENSE"]
    assert metadata["Requires-Python"] == ">=3.11"
    assert {line.partition(",")[0] for line in metadata.get_all("Project-URL", [])} == {
        "Changelog",
        "Documentation",
        "Homepage",
        "Issues",
        "Source",
    }
    classifiers = metadata.get_all("Classifier", [])
    assert "Typing :: Typed" in classifiers
    assert not [one for one in classifiers if one.startswith("License ::")], "License-Expression says it"
    assert metadata["Summary"]
    assert metadata["Keywords"]


def test_no_link_of_a_description_is_dead_on_pypi(member: Member) -> None:
    """There, a relative link leads nowhere; one into this repository must lead to a file and a heading of it."""
    text = (member.folder / "README.md").read_text(encoding="utf-8")
    targets = [found["target"] for found in _LINK.finditer(text)]
    assert [target for target in targets if not target.startswith("https://")] == []
    for target in targets:
        if target.startswith(f"{_REPOSITORY}/blob/main/"):
            path, _, anchor = target.removeprefix(f"{_REPOSITORY}/blob/main/").partition("#")
            assert (ROOT / path).is_file(), target
            assert not anchor or anchor in anchors_of(Path(path)), target
    assert any(target.startswith(_REPOSITORY) for target in targets), "the reader finds the documentation"


def test_urls_of_the_metadata_lead_to_files_that_exist(member: Member) -> None:
    for url in member.project["urls"].values():
        path = url.removeprefix(_REPOSITORY).removeprefix("/blob/main/")
        assert path in ("", "/issues") or (ROOT / path).is_file(), url


def test_a_wheel_works_without_the_checkout(member: Member, dist: Path, tmp_path: Path) -> None:
    """Unpacked, with that of core and what others have published, and with no file of this repository."""
    wheels = wheels_of(dist)
    for name in {"rabibridge-core", member.project["name"]}:
        with zipfile.ZipFile(wheels[name]) as wheel:
            wheel.extractall(tmp_path)
    # Without site (-S), no .pth file leads to the packages of this repository.
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    program = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, *{libraries!r}]\n"
        f"import {IMPORTED_AS[member.project['name']]}\n"
        "found = {name: one.__file__ for name, one in sys.modules.items() if name.startswith('rabibridge')}\n"
        f"print(*(name for name, file in found.items() if not file.startswith({str(tmp_path)!r})))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, timeout=_TIMEOUT, cwd=tmp_path
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_versions_that_differ_are_refused(dist: Path, tmp_path: Path) -> None:
    for file in dist.iterdir():
        (tmp_path / file.name).hardlink_to(file)
    wheel = wheels_of(tmp_path)["rabibridge-core"]
    version = wheel.name.split("-")[1]
    wheel.rename(wheel.with_name(wheel.name.replace(version, "9.9")))
    with pytest.raises(ValueError, match=r"several versions: .*9\.9"):
        wheels_of(tmp_path)
    wheel.with_name(wheel.name.replace(version, "9.9")).unlink()
    with pytest.raises(ValueError, match="lacks a wheel or a source distribution of rabibridge-core"):
        wheels_of(tmp_path)
