"""The files that GitHub, pre-commit and contributors read: they exist, are valid, and name what exists."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from pathlib import Path

    from tests.packaging.conftest import Member

WORKFLOW = ".github/workflows/ci.yml"


def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.fixture
def jobs(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = _yaml(root / WORKFLOW)["jobs"]
    return found


def _commands(job: dict[str, Any]) -> str:
    return "\n".join(step.get("run", "") for step in job["steps"])


@pytest.mark.parametrize(
    "name", ["SECURITY.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "LICENSE", ".github/PULL_REQUEST_TEMPLATE.md"]
)
def test_the_file_exists(root: Path, name: str) -> None:
    assert (root / name).read_text(encoding="utf-8").strip()


def test_the_tests_run_on_every_python_that_the_packages_name(jobs: dict[str, Any], members: dict[str, Member]) -> None:
    named = {
        match[1]
        for member in members.values()
        for classifier in member.project["classifiers"]
        if (match := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", classifier))
    }
    assert set(jobs["test"]["strategy"]["matrix"]["python"]) == named
    assert "make test PYTHON=python" in _commands(jobs["test"])
    assert jobs["test"]["runs-on"].startswith("ubuntu-")


def test_the_unit_tests_run_on_macos_and_windows(jobs: dict[str, Any]) -> None:
    systems = {name.partition("-")[0] for name in jobs["unit"]["strategy"]["matrix"]["os"]}
    assert systems == {"macos", "windows"}
    assert "make unit PYTHON=python" in _commands(jobs["unit"])


def test_the_lowest_versions_are_tested(jobs: dict[str, Any]) -> None:
    assert "make test-lowest" in _commands(jobs["lowest"])


def test_the_workflow_may_do_no_more_than_read(root: Path, jobs: dict[str, Any]) -> None:
    workflow = _yaml(root / WORKFLOW)
    assert workflow["permissions"] == {"contents": "read"}
    assert "concurrency" in workflow
    for job in jobs.values():
        assert "permissions" not in job
        assert job["timeout-minutes"] <= 90
        uses = [step["uses"] for step in job["steps"] if "uses" in step]
        assert all(re.search(r"@(v\d+|[0-9a-f]{40})$", action) for action in uses)


@pytest.mark.parametrize("name", ["bug_report", "feature_request"])
def test_an_issue_form_has_what_github_requires(root: Path, name: str) -> None:
    form = _yaml(root / f".github/ISSUE_TEMPLATE/{name}.yml")
    assert form["name"]
    assert form["description"]
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    ids = [field["id"] for field in fields]
    assert len(ids) == len(set(ids))
    assert all(field["attributes"]["label"] for field in fields)
    assert any(field.get("validations", {}).get("required") for field in fields)


def test_pre_commit_runs_ruff_and_the_type_checkers(root: Path) -> None:
    hooks = {hook["id"]: hook for repo in _yaml(root / ".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]}
    assert {"ruff-check", "ruff-format", "make-check"} <= hooks.keys()
    assert hooks["make-check"]["stages"] == ["pre-push"]
