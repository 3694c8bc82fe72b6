from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Member:
    """A distribution of this repository."""

    folder: Path
    import_name: str

    @property
    def project(self) -> dict[str, Any]:
        with (self.folder / "pyproject.toml").open("rb") as file:
            project: dict[str, Any] = tomllib.load(file)["project"]
        return project


MEMBERS = {
    "rabibridge-core": Member(ROOT / "packages/rabibridge-core", "rabibridge_core"),
    "rabibridge-rabbitmq": Member(ROOT / "packages/rabibridge-rabbitmq", "rabibridge"),
    "rabibridge-redis": Member(ROOT / "packages/rabibridge-redis", "rabibridge_redis"),
    "rabibridge-telemetry": Member(ROOT / "packages/rabibridge-telemetry", "rabibridge_telemetry"),
    "rabibridge-testing": Member(ROOT / "packages/rabibridge-testing", "rabibridge_testing"),
}


@pytest.fixture
def root() -> Path:
    return ROOT


@pytest.fixture
def members() -> dict[str, Member]:
    return MEMBERS


@pytest.fixture(params=MEMBERS)
def member(request: pytest.FixtureRequest) -> Member:
    return MEMBERS[request.param]
