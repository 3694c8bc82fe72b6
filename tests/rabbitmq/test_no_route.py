"""Calls of functions that nobody offers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiormq
import pytest

from rabibridge import NoRouteError
from tests.support.waiting import soon

if TYPE_CHECKING:
    from tests.rabbitmq.support import Stage


async def test_an_unknown_function_and_the_client_goes_on(stage: Stage) -> None:
    async def here(number: int) -> int:
        return number

    name = await stage.serve(here)
    client = await stage.client()
    for number in range(3):
        with pytest.raises(NoRouteError) as refused:
            await soon(client.remote_call("nobody_offers_this"))
        assert isinstance(refused.value, aiormq.exceptions.PublishError)
        assert isinstance(refused.value, LookupError)
        assert refused.value.executed is False
        assert refused.value.func_name == "nobody_offers_this"
        assert "nobody_offers_this" in str(refused.value)
        (endpoint,) = client.settings.endpoints
        (note,) = refused.value.__notes__
        assert f"/{endpoint.virtualhost}." in note
        assert f":{endpoint.password.reveal()}@" not in note
        assert await soon(client.remote_call(name, (number,))) == number
    assert client.pending == 0


async def test_good_and_unroutable_calls_at_once(stage: Stage) -> None:
    async def here(number: int) -> int:
        return number

    name = await stage.serve(here)
    client = await stage.client()
    calls = [client.remote_call(name if number % 2 else f"nowhere_{number}", (number,)) for number in range(200)]
    outcomes = await soon(asyncio.gather(*calls, return_exceptions=True))
    for number, outcome in enumerate(outcomes):
        if number % 2:
            assert outcome == number
        else:
            assert isinstance(outcome, NoRouteError)
            assert outcome.func_name == f"nowhere_{number}"
    assert client.pending == client.stray_replies == 0
