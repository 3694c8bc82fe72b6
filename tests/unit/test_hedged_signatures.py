"""Second copies of calls whose bodies or messages are signed: a signature is for one correlation id."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from rabibridge_core._client.hedge import Hedge
from rabibridge_core.rpc import RpcClient, RpcServer
from rabibridge_core.settings import Secret, load_settings
from tests.support.waiting import soon
from tests.unit.signing_support import HMAC, settings_of


@pytest.mark.parametrize("signed", ["bodies", "messages"])
async def test_the_answer_to_a_signed_second_copy_is_accepted(signed: str) -> None:
    url = f"memory://hedged-{signed}"
    if signed == "bodies":
        settings = replace(load_settings(url=url), serializer="pickle", signing_key=Secret("k" * 32))
    else:
        settings = settings_of(url, HMAC, "hmac")
    ran = list[str]()

    def of(where: str) -> Any:
        async def work(number: int) -> int:
            ran.append(where)
            if len(ran) == 1:
                await asyncio.Event().wait()
            return number + 1

        return work

    servers = [RpcServer(settings=settings) for _ in range(2)]
    for where, server in zip(("left", "right"), servers, strict=True):
        server.add_service(of(where))
    async with servers[0].serving(), servers[1].serving(), RpcClient(settings=settings) as client:
        view = client.options(hedge=Hedge(after=0.01), idempotent=True)
        assert await soon(view.call("work", 1)) == 2
        assert client.stray_replies == 0
    assert sorted(ran) == ["left", "right"]
