"""What the tests of the settings share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core.errors import ConfigurationError
from rabibridge_core.settings import load_settings

if TYPE_CHECKING:
    from rabibridge_core.settings import Endpoint, Settings

PASSWORD = "hunter2-s3cr3t"
LOGIN: dict[str, Any] = {"host": "h", "port": 5672, "username": "u", "password": PASSWORD}
URL = f"amqp://u:{PASSWORD}@h/"


def write_file(text: str, path: str = "rabibridge.toml") -> None:
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")


def broker_file(host: str = "file-host", path: str = "rabibridge.toml", more: str = "") -> None:
    write_file(
        f'[rabbitmq]\nRABBITMQ_HOST = "{host}"\nRABBITMQ_PORT = 1003\nRABBITMQ_USERNAME = "file-user"\n'
        f'RABBITMQ_PASSWORD = "file-pass"\n{more}',
        path,
    )


def error_of(**arguments: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(**arguments)
    return str(caught.value)


def only(settings: Settings) -> Endpoint:
    (endpoint,) = settings.endpoints
    return endpoint


def hosts(settings: Settings) -> list[tuple[str, int]]:
    return [(endpoint.host, endpoint.port) for endpoint in settings.endpoints]
