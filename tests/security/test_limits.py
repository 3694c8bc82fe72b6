"""Each limit of docs/limits.md, at the limit and one above: by a test here, or by those that the table names."""

from __future__ import annotations

import ast
import os
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgpack  # type: ignore[import-untyped]  # it ships no types
import pytest

from rabibridge import (
    ConfigurationError,
    ConnectionLostError,
    ContentRejectedError,
    RMQClient,
    RMQServer,
    SerializationError,
    ServiceError,
)
from rabibridge._connection.channel_numbers import ChannelNumbers
from rabibridge_core._client import stream_decoding
from rabibridge_core._codec.codec import Codec
from rabibridge_core._codec.compression import compress
from rabibridge_core._codec.msgpack_serializer import MsgpackSerializer
from rabibridge_core._protocol.control import control_codec
from rabibridge_core._protocol.headers import check_call_headers, check_idempotency_key
from rabibridge_core._protocol.naming import check_namespace, check_service_name
from rabibridge_core._protocol.progress import TEXT, encode_progress
from rabibridge_core._protocol.remote_errors import remote_traceback
from rabibridge_core._protocol.service_errors import FIELDS_MAX, declared_headers
from rabibridge_core._protocol.streams import GATHERED_ITEMS, Window, decode_items, read_window
from rabibridge_core.settings import load_settings
from rabibridge_core.settings.secret_files import read_secret
from rabibridge_testing._memory.broker import MemoryBroker
from tests.rabbitmq.support import ctl, vhost_of
from tests.security.limit_tests import EXACT, TESTS
from tests.support.waiting import PATIENCE, soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.rabbitmq.support import Stage
    from tools.broker import Broker

ROOT = Path(__file__).parents[2]
MIB = 2**20

"""The tests by the first column of the page."""


def rows() -> list[str]:
    """Return the first column of the table of the page."""
    text = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
    table = text[text.index("| limit |") : text.index("## Run time")]
    return [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines()[2:] if line.startswith("| ")]


def test_each_limit_of_the_page_has_a_test() -> None:
    assert [*TESTS] == rows()
    for named in TESTS.values():
        file, _, test = named.partition("::")
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert test in names, f"{file} has no {test}"
    assert {name for name, test in TESTS.items() if test == EXACT} == {*LIMITS}


def bytes_of(size: int) -> bytes:
    """Return a value that takes so many bytes as msgpack, and does not become smaller by compression."""
    return os.urandom(size - 5)


def decoded(size: int) -> Any:
    body = compress(MsgpackSerializer().dumps(bytes(size - 5)))
    return Codec().decode(body, "application/msgpack", "zstd")


def secret(size: int) -> str:
    path = Path("secret-of-a-test")
    path.touch(mode=0o600)
    path.write_text("s" * size)
    return read_secret(str(path), "a test")


def array(dimensions: int) -> Any:
    numpy = pytest.importorskip("numpy")
    codec = Codec()
    if numpy.lib.NumpyVersion(numpy.__version__) < "2.0.0" and dimensions > 32:
        # It cannot make such an array, which may arrive from a sender with a later one.
        pack = msgpack.Packer().pack
        body: bytes = pack(msgpack.ExtType(82, b"\x0b" + pack(["<f8", [1] * dimensions, bytes(8)])))
    else:
        body = codec.encode(numpy.zeros((1,) * dimensions))[0]
    return codec.decode(body, "application/msgpack")


def answer(size: int) -> Any:
    codec = control_codec()
    return codec.decode(b'"' + b"a" * (size - 2) + b'"', "application/json")


LIMITS: dict[str, tuple[Callable[[int], object], int, type[Exception], str]] = {
    "body on the wire": (lambda n: Codec().encode(bytes_of(n)), 8 * MIB, ContentRejectedError, "max_body=8388608"),
    "body decompressed": (decoded, 64 * MIB, ContentRejectedError, "max_decompressed"),
    "digits of a number in JSON, or of a `Decimal`": (
        lambda n: [Codec(serializer=name).encode(value(n)) for name, value in DIGITS],
        4300, SerializationError, "digits",
    ),
    "dimensions of an array": (array, 32, SerializationError, "array"),
    "name of a service": (lambda n: check_service_name("s" * n), 200, ConfigurationError, "1 to 200"),
    "name of a namespace": (lambda n: check_namespace("n" * n), 32, ValueError, "n"),
    "name of a connection": (
        lambda n: RMQClient(name="c" * n, transport=MemoryBroker().transport()), 255, ConfigurationError, "1 to 255",
    ),
    "idempotency key": (lambda n: check_idempotency_key("k" * n), 200, ConfigurationError, "1 to 200"),
    "name of a header of yours": (lambda n: check_call_headers({"h" * n: 1}), 128, ConfigurationError, "1 to 128"),
    "text of a header of yours": (
        lambda n: check_call_headers({"h": "a" * n, "g": "é" * (n // 2) + "a" * (n % 2)}),
        8192, ConfigurationError, "at most 8192 bytes",
    ),
    "file that holds a secret": (secret, 65536, ConfigurationError, "holds more than 65536 bytes"),
    "answer to a control request": (answer, 4 * MIB, ContentRejectedError, "max_body=4194304"),
}  # fmt: skip
"""What uses so much of a limit, the limit, and how one more is refused."""
DIGITS: list[tuple[str, Callable[[int], Any]]] = [
    ("json", lambda digits: 10 ** (digits - 1)),
    ("msgpack", lambda digits: Decimal("1" * digits)),
]


@pytest.mark.parametrize("name", LIMITS)
def test_at_the_limit_and_one_above(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    use, limit, error, says = LIMITS[name]
    use(limit)
    with pytest.raises(error, match=says):
        use(limit + 1)


def test_nesting_of_sets() -> None:
    for depth, fits in ((16, True), (17, False)):
        value: Any = "a"
        for _ in range(depth):
            value = frozenset([value])
        if fits:
            assert Codec().decode(Codec().encode(value)[0], "application/msgpack") == value
        else:
            with pytest.raises(SerializationError, match="nested"):
                Codec().encode(value)


def test_what_is_cut() -> None:
    def traceback_of(size: int) -> str:
        try:
            raise ValueError("x" * size)
        except ValueError as error:
            return remote_traceback(error)

    beside = len(traceback_of(1)) - 1
    assert "left out" not in traceback_of(65536 - beside)
    assert len(traceback_of(65536 - beside)) == 65536
    assert "[... 1 characters left out ...]" in traceback_of(65537 - beside)
    for size in (1024, 1025):
        assert len(str((encode_progress(None, "p" * size).headers or {})[TEXT])) == 1024


class FullError(ServiceError, code="limits.full"):
    """An error with a field."""

    text: str


def test_fields_of_an_error() -> None:
    def sent(size: int) -> tuple[object, list[BaseException]]:
        refused: list[BaseException] = []
        beside = len(MsgpackSerializer().dumps({"text": "x" * 10_000})) - 10_000
        headers = declared_headers(FullError("x" * (size - beside)), "application/msgpack", refused.append)
        return headers["rb-error-fields"], refused

    fields, refused = sent(FIELDS_MAX)
    assert isinstance(fields, bytes)
    assert (FIELDS_MAX, len(fields), refused) == (16 * 1024, 16 * 1024, [])
    fields, (error,) = sent(FIELDS_MAX + 1)
    assert not fields
    assert "an error may have 16384" in str(error)


async def test_items_gathered_in_one_message() -> None:
    server = RMQServer(url="memory://server@gathered")
    sizes: list[int] = []

    async def many(count: int) -> AsyncIterator[int]:
        for number in range(count):
            yield number

    async def numbers(items: AsyncIterator[int]) -> int:
        return sum([1 async for _ in items])

    for function in (many, numbers):
        server.add_service(function)

    def decoded_items(*arguments: Any, **options: Any) -> Any:
        items = decode_items(*arguments, **options)
        sizes.append(len(items))
        return items

    async with server.serving(), RMQClient(url="memory://client@gathered") as client:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stream_decoding, "decode_items", decoded_items)
            assert len([item async for item in client.options(timeout=PATIENCE).stream("many", 20_000)]) == 20_000
        assert await client.options(timeout=PATIENCE).call("numbers", many(20_000)) == 20_000
    assert max(sizes) <= GATHERED_ITEMS


def test_a_client_or_server_names_the_limit_of_channels() -> None:
    numbers, used = ChannelNumbers(3), set[int]()
    for _ in range(3):
        used.add(numbers.free(used))
    assert used == {1, 2, 3}
    with pytest.raises(ConfigurationError, match=r"all 3 channels that .* are open; .* raise channel_max on"):
        numbers.free(used)


async def test_connections_are_limited_by_the_broker(stage: Stage, governed: Broker) -> None:
    vhost = vhost_of(stage.url)
    await ctl(governed, "set_vhost_limits", "-p", vhost, '{"max-connections": 1}')
    first = await stage.client()
    second = RMQClient(settings=replace(load_settings(url=stage.url), connect_timeout=1.0))
    with pytest.raises(ConnectionLostError, match=r"connection limit .1. is reached"):
        await soon(second.connect())
    await first.close()
    await soon(second.connect())  # it connects when there is room again
    await second.close()


def test_the_window_that_a_caller_may_ask_for() -> None:
    most = Window(4096, 64 * MIB)
    assert read_window(str(most)) == most
    assert read_window(f"4097,{64 * MIB + 1}") == most
