from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from tests.rabbitmq.conftest import governed, raw, stage, users
from tests.security.watch import PASSPHRASE, PASSWORD, SIGNING_KEY, Watch
from tests.unit.conftest import clean_place

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["clean_place", "governed", "raw", "stage", "users"]


@pytest.fixture
def watch(caplog: pytest.LogCaptureFixture) -> Iterator[Watch]:
    """Everything is logged; at the end of the test, the log is searched like everything else."""
    watch = Watch(PASSWORD, SIGNING_KEY, PASSPHRASE)
    with caplog.at_level(logging.DEBUG):
        yield watch
        watch.records(caplog.records)
    assert watch.shown
    assert watch.found() == []
