"""What a caller reads is decided by a header of its request; whatever is in it, there is a reply."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rabibridge_core._codec.codec import Codec
from rabibridge_core._protocol.accept_encoding import as_accepted
from rabibridge_core.errors import ContentRejectedError
from rabibridge_core.transport import Reply

_LONG = "x" * 5000


def _request(accepted: object = None) -> Any:
    return SimpleNamespace(headers={} if accepted is None else {"rb-accept-encoding": accepted})


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        (None, "zstd"), ("zstd", "zstd"), ("gzip, Zstd;q=1", "zstd"), ("*", "zstd"), (7, "zstd"), (b"identity", "zstd"),
        ("identity", "identity"), ("", "identity"), ("gzip", "identity"), ("zstandard", "identity"),
    ],
)  # fmt: skip
def test_a_compressed_body_is_sent_as_the_caller_reads_it(accepted: object, encoding: str) -> None:
    codec = Codec()
    reply = as_accepted(codec, _request(accepted), Reply(*codec.encode(_LONG)))
    assert reply.content_encoding == encoding
    assert codec.decode(*reply[:3]) == _LONG


def test_a_body_that_is_too_large_without_compression_is_an_error_unless_it_must_be_sent() -> None:
    codec = Codec(max_body=2000)
    compressed = Reply(*codec.encode(_LONG))
    with pytest.raises(ContentRejectedError, match="without compression"):
        as_accepted(codec, _request("identity"), compressed)
    assert as_accepted(codec, _request("identity"), compressed, must_fit=False) == compressed


def test_a_body_that_is_not_compressed_stays_as_it_is() -> None:
    reply = Reply(b"\xa1a", "application/msgpack", None)
    assert as_accepted(Codec(), _request("identity"), reply) is reply
