"""Brokers by Docker Compose: what docker-compose.yml describes, and what is said where Docker does not answer."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tools.broker import BrokerError
from tools.broker.compose import ComposeNode, ComposeRedis

_FILE = Path(__file__).parents[2] / "docker-compose.yml"


def test_the_file_describes_both_brokers_on_the_loopback_interface() -> None:
    services = yaml.safe_load(_FILE.read_text())["services"]
    assert set(services) == {"rabbitmq", "valkey"}
    assert all(port.startswith("127.0.0.1:${RABIBRIDGE_") for one in services.values() for port in one["ports"])
    assert services["valkey"]["profiles"] == ["redis"], "it starts only where it is asked for"


def test_a_daemon_that_does_not_answer_is_an_error_that_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(BrokerError, match=r"docker compose --profile redis up .* failed|docker cannot be run"):
        ComposeRedis().__enter__()
    with pytest.raises(BrokerError, match=r"docker compose .* failed|docker cannot be run"):
        ComposeNode().start()


def test_a_machine_without_docker_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BrokerError, match="docker cannot be run"):
        ComposeRedis().__enter__()
