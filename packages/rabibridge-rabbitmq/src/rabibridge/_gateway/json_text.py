"""Items of streams as the JSON that browsers read: dates as ISO 8601, decimals as text, bytes as base64."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import json
from enum import Enum
from typing import Any

__all__ = ["to_json"]


def to_json(value: Any) -> str:
    """Return JSON on one line.

    Raises:
        ValueError: it holds NaN, an infinity or a circle, which JSON lacks.
    """
    return json.dumps(value, default=_default, allow_nan=False, separators=(",", ":"))


def _default(value: Any) -> Any:
    if hasattr(value, "model_dump"):  # a model of pydantic
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, set | frozenset):
        return list(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if (to_list := getattr(value, "tolist", None)) is not None:  # an array or a scalar of numpy
        return to_list()
    return str(value)
