"""The page of versions: what it says of Python and of dependencies is what the packages ask for.

``python -m tests.docs.test_compatibility_page`` writes the table of dependencies anew.
"""

from __future__ import annotations

import re

from packaging.requirements import Requirement

from benchmarks import marked
from tests.docs.blocks import ROOT
from tests.packaging.conftest import MEMBERS

PAGE = ROOT / "docs/compatibility.md"


def _table() -> str:
    rows: dict[str, set[str]] = {}
    for name, member in MEMBERS.items():
        extras = member.project.get("optional-dependencies", {})
        groups = {name: member.project["dependencies"]} | {f"{name}[{extra}]": needs for extra, needs in extras.items()}
        for group, needs in groups.items():
            for need in map(Requirement, needs):
                if need.name not in MEMBERS:
                    rows.setdefault(f"{need.name} | {_bounds(need)}", set()).add(f"`{group}`")
    lines = (f"| {dependency} | {', '.join(sorted(groups))} |" for dependency, groups in sorted(rows.items()))
    return "\n".join(["| dependency | versions | of |", "|---|---|---|", *lines])


def _bounds(need: Requirement) -> str:
    return ", ".join(f"`{bound}`" for bound in sorted(map(str, need.specifier), reverse=True))


def test_the_table_of_dependencies_is_current() -> None:
    assert _table() in PAGE.read_text(encoding="utf-8"), "run `python -m tests.docs.test_compatibility_page`"


def test_the_page_names_the_pythons_of_the_packages() -> None:
    (row,) = re.findall(r"^\| Python \|.*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    named = re.findall(r"\b3\.\d+\b", row)
    for member in MEMBERS.values():
        classifiers = member.project["classifiers"]
        assert [line.rpartition(" ")[2] for line in classifiers if re.search(r":: 3\.\d+$", line)] == named
        assert member.project["requires-python"] == f">={named[0]}"


if __name__ == "__main__":
    marked.write(PAGE, "dependencies", _table())
