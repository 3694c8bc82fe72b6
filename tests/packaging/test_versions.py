"""One command sets the version everywhere, and deprecated names keep the promise of docs/compatibility.md."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest
from packaging.version import Version

from tests.packaging.conftest import ROOT
from tools.version import current_version, set_version

if TYPE_CHECKING:
    from pathlib import Path

    from tests.packaging.conftest import Member

_WARNING = re.compile(r"\b(?:Pending)?DeprecationWarning\b|@(?:typing_extensions\.|warnings\.)?deprecated\(")
_PROMISE = re.compile(r"is deprecated since (?P<since>\d+\.\d+) and goes in (?P<gone>\d+\.0): use ")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The files that hold the version, to be changed."""
    for file in [*ROOT.glob("packages/*/pyproject.toml"), ROOT / "CHANGELOG.md"]:
        target = tmp_path / file.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    return tmp_path


def test_the_version_is_set_wherever_it_stands(copy: Path) -> None:
    before = current_version(copy)
    set_version("98.1.0", copy)
    assert current_version(copy) == "98.1.0"
    for file in copy.glob("packages/*/pyproject.toml"):
        assert before not in file.read_text(encoding="utf-8")
    assert re.search(r"^## 98\.1\.0 \(\d{4}-\d\d-\d\d\)$", (copy / "CHANGELOG.md").read_text(), re.MULTILINE)
    set_version("98.2.0.dev0", copy)
    headings = re.findall(r"^## (\S+)", (copy / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[:2] == ["98.2.0.dev0", "98.1.0"]


@pytest.mark.parametrize("version", ["0.9", "next"])
def test_a_version_that_cannot_be_next_is_refused(copy: Path, version: str) -> None:
    files = {file: file.read_bytes() for file in copy.rglob("*") if file.is_file()}
    with pytest.raises(ValueError, match=version):
        set_version(version, copy)
    assert {file: file.read_bytes() for file in files} == files


def test_several_versions_are_an_error(copy: Path) -> None:
    file = copy / "packages/rabibridge-core/pyproject.toml"
    file.write_text(file.read_text().replace(f'version = "{current_version(copy)}"', 'version = "99.0"'))
    with pytest.raises(ValueError, match=r"several versions: .*99\.0"):
        current_version(copy)


def test_the_changelog_begins_with_the_version_of_the_packages() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == current_version()


def test_the_changelog_can_be_read_in_five_minutes() -> None:
    """Of the newest version: one line for each change, under the usual headings, a page of text at most."""
    newest = re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1]
    headings = re.findall(r"^### (.*)$", newest, flags=re.MULTILINE)
    order = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
    assert headings == [each for each in order if each in headings]
    changes = newest.partition("### ")[2].splitlines()
    assert [line for line in changes[1:] if line and not re.match(r"- |### |[A-Z][^.]*:$", line)] == []
    assert [line for line in changes if len(line) > 200] == []
    assert len(newest.split()) < 1_250  # 250 words a minute


def test_every_deprecation_says_since_when_and_until_when(member: Member) -> None:
    for file in (member.folder / "src").rglob("*.py"):
        assert _broken_promises(file.read_text(encoding="utf-8"), Version(current_version())) == [], file


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ('warn("old is deprecated", DeprecationWarning)', "say"),
        ('warn("old is deprecated since 1.3 and goes in 2.0: use new", DeprecationWarning)', None),
        ('@deprecated("old is deprecated since 1.1 and goes in 1.4: use new")', "say"),
        ('warn("old is deprecated since 1.3 and goes in 1.0: use new", DeprecationWarning)', "remove"),
    ],
    ids=["nothing", "all", "in a minor release", "past"],
)
def test_a_deprecation_that_does_not_is_found(source: str, problem: str | None) -> None:
    found = _broken_promises(source, Version("1.3"))
    assert [one.partition(" ")[0] for one in found] == ([problem] if problem else [])


def _broken_promises(source: str, current: Version) -> list[str]:
    promises = list(_PROMISE.finditer(source))
    problems = [f"remove what goes in {each['gone']}" for each in promises if Version(each["gone"]) <= current]
    if len(_WARNING.findall(source)) > len(promises):
        problems.append("say `... is deprecated since 1.3 and goes in 2.0: use ...`: docs/compatibility.md promises it")
    return problems
