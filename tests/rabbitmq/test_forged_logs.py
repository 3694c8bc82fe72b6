"""What other programs and the broker say cannot forge a line of the log, or control a terminal that shows it."""

from __future__ import annotations

import logging
import struct
from typing import TYPE_CHECKING

import pytest
from pamqp import commands as spec

from tests.rabbitmq.support import until_call_gives
from tests.support.proxy import Proxy
from tests.support.services import new_echo
from tests.support.waiting import until

if TYPE_CHECKING:
    import aiormq

    from tests.rabbitmq.support import Stage

FORGED = "x\n2026-01-01 CRITICAL root: \x1b[31mforged\x1b[0m"


@pytest.fixture(autouse=True)
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    for name in ("rabibridge", "rabibridge_core"):
        caplog.set_level(logging.DEBUG, logger=name)


def _lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("rabibridge")]
    return [message for message in messages if "CRITICAL root" in message]


def _check(caplog: pytest.LogCaptureFixture) -> None:
    assert _lines(caplog)
    for message in _lines(caplog):
        assert message.isprintable()


async def test_a_caller_cannot_by_what_its_request_carries(
    stage: Stage, raw: aiormq.abc.AbstractChannel, caplog: pytest.LogCaptureFixture
) -> None:
    echo = new_echo()
    name = stage.register(echo, redelivery_limit=0)
    await stage.server(echo)
    for properties in (
        spec.Basic.Properties(reply_to=FORGED, correlation_id="1"),
        spec.Basic.Properties(content_type=FORGED, correlation_id=FORGED, headers={FORGED: FORGED}),
        spec.Basic.Properties(correlation_id=FORGED, headers={"rb-timeout": FORGED, "rb-idempotency-key": FORGED * 9}),
    ):
        await raw.basic_publish(b"\x92\x90\x80", exchange="rpc", routing_key=f"async_{name}", properties=properties)
    await until_call_gives(await stage.client(), name, "x", "x")
    await until(lambda: len(_lines(caplog)) >= 2)
    _check(caplog)


async def test_a_text_of_the_broker_cannot(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    name = await stage.serve(new_echo())
    text = FORGED.encode()
    close = struct.pack(">HHHB", 10, 50, 320, len(text)) + text + bytes(4)
    async with Proxy(stage.url, whole_frames=True) as proxy:
        client = await stage.client(url=proxy.url)
        await until_call_gives(client, name, 1, 1)
        proxy.link.inject(struct.pack(">BHI", 1, 0, len(close)) + close + b"\xce")
        await until(lambda: bool(_lines(caplog)))
        await until_call_gives(client, name, 2, 2)
        await client.close()
    _check(caplog)
