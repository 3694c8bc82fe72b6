"""The error tree: fields, mix-ins, pickling."""

from __future__ import annotations

import asyncio
import copy
import pickle
from typing import Any

import aio_pika
import aiormq
import pytest

import rabibridge
from rabibridge.errors import NoRouteError as ReturnedError
from rabibridge.errors import QueueFullError as RejectedError
from rabibridge_core import errors
from rabibridge_core.errors import (
    CallError,
    CallTimeoutError,
    ConfigurationError,
    ConnectionLostError,
    ContentRejectedError,
    InvalidArgumentsError,
    NoRouteError,
    PluginError,
    QueueFullError,
    RabiBridgeError,
    RegistrationError,
    RemoteExecutionError,
    SerializationError,
)

_CALL: dict[str, Any] = {"func_name": "work", "correlation_id": "17"}
_REMOTE: dict[str, Any] = {
    **_CALL,
    "error_type": "builtins.KeyError",
    "error_message": "'x'",
    "remote_traceback": "Traceback ...",
}
_EXAMPLES: list[RabiBridgeError] = [
    RabiBridgeError("text"),
    ConfigurationError("text"),
    RegistrationError("text"),
    PluginError("text"),
    SerializationError("text"),
    ContentRejectedError("text"),
    ConnectionLostError("text", executed=False),
    CallError("text", **_CALL),
    QueueFullError("text", **_CALL, retry_after=0.25, attempts=3),
    NoRouteError("text", **_CALL),
    CallTimeoutError("text", **_CALL, timeout=1.5, executed=False),
    RemoteExecutionError("text", **_REMOTE),
    InvalidArgumentsError("text", **_REMOTE),
    RejectedError("text", **_CALL, retry_after=0.25, attempts=3),
    ReturnedError("text", **_CALL),
]


@pytest.mark.parametrize("error", _EXAMPLES, ids=lambda error: type(error).__name__)
def test_it_survives_pickling_and_copying(error: RabiBridgeError) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(error, protocol))
        assert type(again) is type(error)
        assert again.args == error.args == ("text",)
        assert vars(again) == vars(error)
        assert str(again) == str(error) == "text"
    assert vars(copy.copy(error)) == vars(error)
    assert vars(copy.deepcopy(error)) == vars(error)


def test_notes_survive_pickling() -> None:
    error = RemoteExecutionError("text", **_REMOTE)
    error.add_note("On the worker: ...")
    assert pickle.loads(pickle.dumps(error)).__notes__ == ["On the worker: ..."]


def test_fields_set_later_survive_pickling() -> None:
    error = RemoteExecutionError("text")
    error.executed = False
    assert pickle.loads(pickle.dumps(error)).executed is False


@pytest.mark.parametrize(
    ("cls", "bases"),
    [
        (ConfigurationError, (ValueError,)),
        (RegistrationError, (ValueError,)),
        (SerializationError, (ValueError,)),
        (ConnectionLostError, (ConnectionError, OSError)),
        (QueueFullError, (CallError,)),
        (NoRouteError, (CallError, LookupError)),
        (CallTimeoutError, (CallError, TimeoutError, asyncio.TimeoutError)),
        (RemoteExecutionError, (CallError,)),
        (InvalidArgumentsError, (RemoteExecutionError,)),
        (RejectedError, (QueueFullError, aio_pika.exceptions.DeliveryError, aiormq.exceptions.DeliveryError)),
        (ReturnedError, (NoRouteError, aiormq.exceptions.PublishError)),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_what_it_is_besides(cls: type[RabiBridgeError], bases: tuple[type[BaseException], ...]) -> None:
    for base in (*bases, RabiBridgeError, Exception):
        assert issubclass(cls, base)


def test_whether_the_call_ran() -> None:
    assert CallError("text").executed is None
    assert QueueFullError("text").executed is False
    assert NoRouteError("text").executed is False
    assert CallTimeoutError("text").executed is None
    assert RemoteExecutionError("text").executed is True
    assert InvalidArgumentsError("text").executed is False
    assert ConnectionLostError("text").executed is None


def test_a_refusal_that_tells_nothing_more() -> None:
    assert (QueueFullError("text").retry_after, QueueFullError("text").attempts) == (None, 1)


def test_a_refusal_is_read_as_with_rabibridge_0_1() -> None:
    assert isinstance(RejectedError("text").frame, aiormq.spec.Basic.Nack)
    returned = ReturnedError("text")
    assert isinstance(returned.frame, aiormq.spec.Basic.Return)
    assert returned.frame.reply_code == 312
    assert repr(returned)
    assert str(returned) == "text"


def test_the_short_names_are_the_same_objects() -> None:
    for name in errors.__all__:
        assert getattr(rabibridge, name) is getattr(errors, name)


@pytest.mark.parametrize("cls", [ConnectionLostError, CallTimeoutError, NoRouteError])
def test_a_message_of_one_word_is_shown_as_it_is(cls: type[RabiBridgeError]) -> None:
    assert str(cls("word")) == "word"
    assert "word" in repr(cls("word"))
