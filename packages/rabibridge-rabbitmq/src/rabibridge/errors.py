"""Errors for requests that RabbitMQ refuses. Each is both an error of RabiBridge and an exception of aiormq."""

from __future__ import annotations

from typing import Any

from aiormq import exceptions as amqp
from pamqp import commands as spec

from rabibridge_core import errors

__all__ = ["NoRouteError", "QueueFullError"]


class QueueFullError(errors.QueueFullError, amqp.DeliveryError):
    """The broker refused the request (``basic.nack``) because the queue is full.

    It is also an ``aio_pika.exceptions.DeliveryError``, for code written against RabiBridge 0.1.
    """

    # These replace aiormq's slots, so that pickling the error needs only its own state.
    message: Any = None
    frame: Any = spec.Basic.Nack()


class NoRouteError(errors.NoRouteError, amqp.PublishError):
    """The broker returned the request because no queue is bound for its routing key.

    It is also an ``aiormq.exceptions.PublishError``, for code written against RabiBridge 0.1.
    """

    message: Any = None
    frame: Any = spec.Basic.Return(reply_code=312, reply_text="NO_ROUTE", exchange="rpc", routing_key="")
