from __future__ import annotations

from tests.rabbitmq.conftest import governed, raw, stage, users
from tests.unit.conftest import clean_place

__all__ = ["clean_place", "governed", "raw", "stage", "users"]
