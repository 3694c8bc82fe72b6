"""Durations: seconds as a number or a timedelta, wherever one is given; anything else is an error that says so."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._client.retry import RetryRefused
from rabibridge_core._concurrency.durations import as_seconds
from rabibridge_core._services.limits import ServiceLimits
from rabibridge_core._services.schema import ServiceSchema
from rabibridge_core.errors import ConfigurationError, RegistrationError
from rabibridge_core.rpc import RpcClient
from rabibridge_core.settings import Settings
from tests.unit.client_support import begin, reply, sent

if TYPE_CHECKING:
    from rabibridge_core._client.client import Client
    from tests.unit.scripted_transport import ScriptedTransport


def _type_name(value: object) -> str:
    return f"{type(value).__name__} {value if isinstance(value, bool | dict) else ''}"


WRONG = ["5", b"5", True, False, [5], object(), 5j, Decimal(5)]


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(5, 5.0), (0.25, 0.25), (timedelta(minutes=1, milliseconds=5), 60.005), (Fraction(1, 4), 0.25)],
)
def test_what_is_a_duration(given: Any, seconds: float) -> None:
    assert as_seconds(given) == seconds
    assert type(as_seconds(given)) is float


@pytest.mark.parametrize("given", WRONG, ids=_type_name)
def test_what_is_none(given: Any) -> None:
    assert as_seconds(given) is None


async def test_the_timeout_of_a_call(client: Client, transport: ScriptedTransport) -> None:
    call = begin(client, timeout=timedelta(seconds=2.5))
    client.calls.replied((await sent(transport))[0], reply(None))
    await call
    assert transport.sent[0].timeout == 2.5


@pytest.mark.parametrize("given", WRONG, ids=_type_name)
async def test_a_wrong_timeout_of_a_call(client: Client, given: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"timeout is .*a number of seconds or a timedelta"):
        await begin(client, timeout=given)


async def def_service() -> None: ...


def test_the_timeout_of_a_service() -> None:
    def schema(timeout: Any) -> ServiceSchema:
        return ServiceSchema.of(def_service, ServiceLimits(timeout=timeout))

    assert schema(timedelta(minutes=2)).timeout == 120.0
    for wrong in WRONG:
        with pytest.raises(RegistrationError, match="timeout is"):
            schema(wrong)


def test_the_waits_of_retries() -> None:
    retry = RetryRefused(base=timedelta(milliseconds=100), cap=timedelta(seconds=3))  # type: ignore[arg-type]
    assert (retry.base, retry.cap) == (0.1, 3.0)
    cases: list[dict[str, Any]] = [{"base": "1"}, {"cap": True}, {"ratio": "x"}, {"attempts": True}, {"burst": False}]
    for wrong in cases:
        with pytest.raises(ConfigurationError, match=f"{next(iter(wrong))} is"):
            RetryRefused(**wrong)


def test_settings() -> None:
    settings = Settings(
        drain_timeout=timedelta(minutes=1),  # type: ignore[arg-type]
        call_timeout=timedelta(seconds=5),  # type: ignore[arg-type]
    )
    assert (settings.drain_timeout, settings.call_timeout) == (60.0, 5.0)
    for name in ("drain_timeout", "connect_timeout", "call_timeout"):
        wrong: Any = {name: True}
        with pytest.raises(ConfigurationError, match=f"{name} is True"):
            Settings(**wrong)


@pytest.mark.parametrize(
    ("argument", "wrong"),
    [("retry", True), ("retry", 5), ("accept", 5), ("transport", object()), ("name", 5), ("settings", {})],
)
def test_arguments_are_checked_where_they_are_given(
    argument: str, wrong: Any, recwarn: pytest.WarningsRecorder
) -> None:
    options: dict[str, Any] = {"url": "memory://checked", argument: wrong}
    with pytest.raises(ConfigurationError, match=f"{argument}=? is"):
        RpcClient(**options)
    assert not recwarn.list


@pytest.mark.parametrize(
    "wrong",
    [{"retry": True}, {"idempotent": "no"}, {"persistent": 1}, {"inherit_deadline": None}, {"kind": ["async"]}],
    ids=repr,
)
async def test_options_of_a_call_are_checked(client: Client, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong)).replace("kind", "ftype")):
        await begin(client, **wrong)


async def test_names_of_parameters_are_texts(client: Client) -> None:
    for wrong in ({1: 2}, {b"x": 1}, {None: 1}):
        with pytest.raises(TypeError, match="names of parameters"):
            await client.call("work", (), wrong, ("async", None, False, None, False, True, None, None))  # type: ignore[arg-type]
