"""A call's entry in the client's table has one owner.

The rule: whatever is raised at whatever step of a call (a hook, encoding, sending, decoding the reply), of whatever
class, the call ends with one outcome, and its entry, its deadline and its slot are taken out.

Each test raises at one step, by a plug-in, a serializer or a transport of its own, and then counts entries.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._client.options import CallOptions
from rabibridge_core._codec.codec import Codec
from rabibridge_core._protocol.remote_errors import EXECUTION
from rabibridge_core.errors import RemoteExecutionError, SerializationError
from rabibridge_core.plugins.call_hooks import CallHooks
from rabibridge_core.plugins.manager import PluginManager
from rabibridge_core.transport import Reply
from tests.unit.client_support import begin, make_client, reply, sent
from tests.unit.request_faults import RAISED, FaultySerializer, Observer
from tests.unit.scripted_transport import ScriptedTransport

if TYPE_CHECKING:
    from rabibridge_core._client.client import Client

each_error = pytest.mark.parametrize("raised", RAISED, ids=lambda cls: cls.__name__)


@pytest.fixture
def transport() -> ScriptedTransport:
    return ScriptedTransport()


def _nothing_is_left(client: Client) -> None:
    assert client.pending == 0
    assert len(client.calls.deadlines) == 0
    assert not client.calls.admission.waiting


async def _ends(client: Client, task: asyncio.Task[Any]) -> BaseException | None:
    """Return the error with which a call ended, after a check that nothing is left of it."""
    try:
        await task
    except BaseException as error:  # noqa: BLE001 - the test raises errors of all classes
        return error
    finally:
        _nothing_is_left(client)
    return None


async def _calls(client: Client, transport: ScriptedTransport) -> None:
    """Check that the client still calls."""
    count = len(transport.sent) + 1
    task = begin(client, "after", timeout=60.0)
    cid = (await sent(transport, count))[-1]
    client.calls.replied(cid, reply("fine"))
    assert await task == "fine"
    _nothing_is_left(client)
    await client.close()


@each_error
@pytest.mark.parametrize("before", [True, False], ids=["sent", "finished"])
async def test_hooks(raised: type[BaseException], before: bool, transport: ScriptedTransport) -> None:
    plugins = PluginManager()
    plugins.register(Observer(raised, before=before))
    client = make_client(transport, hooks=CallHooks(plugins))
    await client.connect()
    task = begin(client, timeout=60.0)
    (cid,) = await sent(transport)
    client.calls.replied(cid, reply("result"))
    assert await task == "result"  # a plug-in does not affect the call
    await _calls(client, transport)


async def _call_raises(client: Client, raised: type[BaseException]) -> None:
    """Make a call that raises: not in a task of its own, which would end the loop for some classes."""
    with pytest.raises(raised):
        await client.call("work", (), {}, CallOptions(timeout=60.0))
    _nothing_is_left(client)


@each_error
async def test_sending(raised: type[BaseException], transport: ScriptedTransport) -> None:
    client = make_client(transport)
    await client.connect()

    def fail(_: object) -> None:
        transport.sending = None
        raise raised("the transport")

    transport.sending = fail
    await _call_raises(client, raised)
    await _calls(client, transport)


async def test_a_retry_policy_that_is_none(transport: ScriptedTransport) -> None:
    client = make_client(transport)
    await client.connect()
    retry: Any = True
    task = begin(client, timeout=60.0, retry=retry)
    assert await _ends(client, task) is not None
    await _calls(client, transport)


@each_error
async def test_decoding_the_reply(raised: type[BaseException], transport: ScriptedTransport) -> None:
    serializer = FaultySerializer()
    client = make_client(transport, codec=Codec(serializer=serializer, accept=["msgpack"]))
    await client.connect()
    serializer.loads_raises = raised

    def answer(request: Any) -> None:
        transport.sending = None
        loop = asyncio.get_running_loop()
        loop.call_soon(client.calls.replied, request.correlation_id, Reply(b"[0, 1]", serializer.content_type, None))

    transport.sending = answer
    await _call_raises(client, KeyboardInterrupt if raised is KeyboardInterrupt else SerializationError)
    await _calls(client, transport)


@pytest.mark.parametrize("body", [b"", b"\xc1", b'{"not": "msgpack"}'])
@pytest.mark.parametrize("content_type", [None, "application/x-unknown", "application/msgpack"])
@pytest.mark.parametrize(("kind", "executed"), [("request", False), ("arguments", False), (EXECUTION, True)])
async def test_the_headers_of_a_reply_tell_the_failure_even_if_its_body_cannot_be_read(
    body: bytes, content_type: str | None, kind: str, executed: bool, transport: ScriptedTransport
) -> None:
    client = make_client(transport)
    await client.connect()
    task = begin(client, timeout=60.0)
    (cid,) = await sent(transport)
    headers = {"rb-error": kind, "rb-error-type": "builtins.KeyError", "rb-error-message": "no such key"}
    client.calls.replied(cid, Reply(body, content_type, None, headers))
    error = await _ends(client, task)
    assert isinstance(error, RemoteExecutionError)
    assert (error.executed, error.error_type, error.error_message) == (executed, "builtins.KeyError", "no such key")
    assert "cannot be read" in error.__notes__[0]
    await _calls(client, transport)


async def test_an_unreadable_reply_without_headers(transport: ScriptedTransport) -> None:
    client = make_client(transport)
    await client.connect()
    task = begin(client, timeout=60.0)
    (cid,) = await sent(transport)
    client.calls.replied(cid, Reply(b"\xc1", None, None, None))
    assert isinstance(await _ends(client, task), SerializationError)
    await _calls(client, transport)
