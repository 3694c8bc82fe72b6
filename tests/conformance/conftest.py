from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from tests.docs.conformance_table import reason_of

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType

_ELSEWHERE = ("broker that is only known by its URL", "has no eager tasks")
"""Why tests are skipped here that pass elsewhere: what needs rabbitmqctl, and what needs a later Python."""
_CALLERS_GO = frozenset({"TestStreamEndings", "TestUploads"})


@pytest.fixture(autouse=True)
def frequent_maintenance(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where callers go, let servers look more often than every five seconds whether they are still there."""
    if request.cls is not None and request.cls.__name__ in _CALLERS_GO:
        monkeypatch.setattr("rabibridge_core._server.service.MAINTENANCE_INTERVAL", 0.5)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let a test fail that is skipped although docs/conformance.md says that it passes on this transport."""
    report = yield
    if report.skipped and isinstance(item, pytest.Function) and item.cls is not None:
        if any(why in str(report.longrepr) for why in _ELSEWHERE):
            return report
        if not reason_of(cast("ModuleType", item.module), item.cls, item.function.__name__):
            report.outcome = "failed"
            report.longrepr = f"skipped, but docs/conformance.md says that it passes here: {report.longrepr}"
    return report
