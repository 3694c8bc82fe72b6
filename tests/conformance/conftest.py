from __future__ import annotations

import pytest

_CALLERS_GO = frozenset({"TestStreamEndings", "TestUploads"})


@pytest.fixture(autouse=True)
def frequent_maintenance(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where callers go, let servers look more often than every five seconds whether they are still there."""
    if request.cls is not None and request.cls.__name__ in _CALLERS_GO:
        monkeypatch.setattr("rabibridge_core._server.service.MAINTENANCE_INTERVAL", 0.5)
