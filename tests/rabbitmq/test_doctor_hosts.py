"""A doctor of several hosts tells one that is away from a set-up that does not work."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from yarl import URL

from rabibridge._operations.doctor import examine
from rabibridge_core.operations import Examination
from rabibridge_core.operations.findings import Finding, Report, Status
from rabibridge_core.settings import load_settings
from tests.support.waiting import PATIENCE


async def _examined(urls: list[str]) -> list[Finding]:
    report = Report()
    async with asyncio.timeout(2 * PATIENCE):
        await examine(load_settings(url=urls), Examination(limit=10.0), report)
    return report.findings


@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
@pytest.mark.parametrize(
    ("change", "check"),
    [(lambda url: url.with_host("no-such-host.invalid"), "dns"), (lambda url: url.with_port(9), "tcp")],
    ids=["name", "port"],
)
async def test_one_of_several_hosts_that_is_away_is_a_warning(
    vhost_url: str, change: Any, check: str, first: bool
) -> None:
    away = change(URL(vhost_url))
    findings = await _examined([str(away), vhost_url] if first else [vhost_url, str(away)])
    (warning,) = [finding for finding in findings if finding.status is not Status.OK]
    assert warning.status is Status.WARNING
    assert warning.check == check
    assert f"until {away.host} is back, the other hosts are used" in warning.text
    assert [finding.status for finding in findings if finding.check == "login"] == [Status.OK]


async def test_several_hosts_that_are_all_away_are_failures(vhost_url: str) -> None:
    url = URL(vhost_url)
    findings = await _examined([str(url.with_port(9)), str(url.with_host("no-such-host.invalid"))])
    assert [finding.check for finding in findings if finding.status is Status.FAILURE] == ["tcp", "dns", "login"]
