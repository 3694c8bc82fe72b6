"""What a release says of itself, and what is asked about the libraries that it brings."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement

from tools.audit import verdict
from tools.runtime import OWN, runtime_distributions
from tools.sbom import BILL, SUMS, bill_of_materials, describe

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]


def test_every_dependency_and_every_extra_is_in_the_bill_and_no_tool_is() -> None:
    found = runtime_distributions()
    assert set(OWN) < set(found)
    assert {"aiormq", "msgpack", "pydantic", "pydantic-core", "cryptography", "starlette", "pamqp"} < set(found)
    assert not {"mypy", "ruff", "pip-audit", "cyclonedx-bom"} & set(found)
    needs = {Requirement(line).name for line in distribution("rabibridge-core").requires or []}
    assert set(found["rabibridge-core"][1]) >= needs - {"uvloop"}


def test_the_bill_is_valid_complete_and_the_same_each_time(tmp_path: Path) -> None:
    wheel = tmp_path / f"rabibridge_core-{distribution('rabibridge-core').version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("rabibridge_core/__init__.py", "")
    describe(tmp_path)  # raises if the schema of CycloneDX refuses it
    bill = json.loads((tmp_path / BILL).read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    parts = {part["name"]: part for part in bill["components"]}
    assert set(parts) == set(runtime_distributions())
    assert parts["msgpack"]["purl"] == f"pkg:pypi/msgpack@{distribution('msgpack').version}"
    (mark,) = parts["rabibridge-core"]["hashes"]
    lines = [line.partition("  ") for line in (tmp_path / SUMS).read_text().splitlines()]
    sums = {name: mark for mark, _, name in lines}
    assert (mark["alg"], mark["content"]) == ("SHA-256", sums[wheel.name])
    assert set(sums) == {wheel.name, BILL}
    edges = {one["ref"]: one.get("dependsOn", []) for one in bill["dependencies"]}
    assert parts["msgpack"]["bom-ref"] in edges[parts["rabibridge-core"]["bom-ref"]]
    assert bill_of_materials({"rabibridge-core": wheel}) == (tmp_path / BILL).read_text()
    if shutil.which("sha256sum"):
        assert subprocess.run(["sha256sum", "-c", "--quiet", SUMS], cwd=tmp_path, timeout=60).returncode == 0
        wheel.write_bytes(b"another")
        assert subprocess.run(["sha256sum", "-c", "--quiet", SUMS], cwd=tmp_path, timeout=60).returncode == 1


def _report(*packages: Mapping[str, object]) -> dict[str, object]:
    return {"dependencies": list(packages), "fixes": []}


def test_vulnerabilities_fail_continuous_integration_and_are_a_warning_elsewhere() -> None:
    bad = {"name": "x", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}
    good = {"name": "y", "version": "1", "vulns": []}
    unknown = {"name": "z", "skip_reason": "not found"}
    assert verdict(_report(bad, good), in_ci=True)[0] == 1
    status, lines = verdict(_report(bad, good, unknown), in_ci=False)
    assert (status, lines[1]) == (0, "x 1: CVE-1, fixed in 2")
    assert "1 are not known" in lines[0]
    assert verdict(_report(good), in_ci=True) == (0, ["audit: no known vulnerabilities in 1 packages"])
    status, lines = verdict(_report(unknown, unknown), in_ci=True)
    assert (status, lines) == (0, ["audit skipped: the vulnerability service knows none of the 2 packages"])


def test_where_the_service_cannot_be_asked_the_audit_is_skipped_and_says_why() -> None:
    pytest.importorskip("pip_audit")
    nowhere = {name: "http://127.0.0.1:9" for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")}
    done = subprocess.run(
        [sys.executable, "-m", "tools.audit"],
        cwd=ROOT,
        env=os.environ | nowhere | {"CI": "1", "NO_PROXY": "", "no_proxy": ""},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("audit skipped: the vulnerability service ")
    assert done.stdout.count("\n") == 1
