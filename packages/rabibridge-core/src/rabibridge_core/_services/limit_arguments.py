"""The limits of a service as keyword arguments, for those who type them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import timedelta

    from rabibridge_core._protocol.remote_errors import RemoteTraceback
    from rabibridge_core._services.limits import FetchSize, HandlerPlace
    from rabibridge_core.errors import ServiceError
    from rabibridge_core.transport import Delivery, QueueType

__all__ = ["LimitArguments"]


class LimitArguments(TypedDict, total=False):
    """The limits among the keyword arguments of ``@register_call``, which describes them."""

    queue_size: int | None
    fetch_size: FetchSize | None
    timeout: float | timedelta | None
    validate: bool
    re_register: bool
    delivery: Delivery | None
    idempotent: bool
    redelivery_limit: int | None
    queue_type: QueueType | None
    fetch_ahead: int | None
    raises: tuple[type[ServiceError], ...]
    classes: Mapping[str, int | None] | None
    executor: HandlerPlace | None
    max_calls_per_child: int | None
    run_timeout: float | timedelta | None
    remote_traceback: RemoteTraceback | None
    fair: bool
    allow: Collection[str] | None
    slow_call: float | timedelta | None
    deadline_admission: bool | None
    max_wait: float | timedelta | None
    rate: str | float | None
