"""Control requests: what clients ask servers about themselves, and the answers. JSON objects, whatever calls use.

This is the one place that names routing keys, headers and fields of control requests; docs/protocol.md specifies them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias, cast, get_args

from rabibridge_core._codec.codec import Codec
from rabibridge_core._protocol.call_chains import LINKS_MAX, is_place
from rabibridge_core._protocol.headers import ANSWERED_AT, WORKER, WORKER_ID
from rabibridge_core._reporting.error_text import printable
from rabibridge_core.errors import ContentRejectedError, SerializationError
from rabibridge_core.transport import Reply

if TYPE_CHECKING:
    from rabibridge_core.transport import ControlRequest, Headers

__all__ = [
    "ControlAnswer",
    "ControlQuestion",
    "Question",
    "UnreadableControlError",
    "control_codec",
    "control_key",
    "decode_answer",
    "decode_question",
    "encode_answer",
    "encode_question",
    "worker_headers",
]

Question: TypeAlias = Literal["ping", "status", "services", "calls", "places"]
"""What is asked: whether the worker is there; its numbers; what its services are; what it runs now; whether certain
calls hold all places of a service."""

_QUESTIONS: Final = get_args(Question)
_NAME_MAX = 200
_REASON_MAX = 500
_BODY_MAX = 4 * 2**20
_DECOMPRESSED_MAX = 32 * 2**20


def control_key(namespace: str = "") -> str:
    """Return the routing key of control requests to all workers of a namespace; empty: that of all without one.

    No service has such a key: theirs begin with their kind.
    """
    return f"control:{namespace}" if namespace else "control"


def control_codec() -> Codec:
    """Return what encodes and decodes control messages: JSON alone, whatever the calls of this process use."""
    return Codec(serializer="json", accept=(), max_body=_BODY_MAX, max_decompressed=_DECOMPRESSED_MAX)


class UnreadableControlError(Exception):
    """A control request or an answer that cannot be read."""


class ControlQuestion(NamedTuple):
    """One control request.

    Attributes:
        what: what is asked.
        worker: only the workers with this name or id answer; empty: all.
        service: only about this service; empty: about all.
        criticality: for ``places``: the class of criticality that it is about; empty: the first one.
        holders: for ``places``: the calls that may hold them, by their names in chains.
    """

    what: Question
    worker: str = ""
    service: str = ""
    criticality: str = ""
    holders: tuple[str, ...] = ()


class ControlAnswer(NamedTuple):
    """The answer of one worker.

    Attributes:
        worker: its name.
        id: its id.
        time: when it answered, in seconds since 1970 by its clock.
        refused: why it does not tell; empty: it does.
        value: what it tells.
    """

    worker: str
    id: str
    time: float
    refused: str
    value: dict[str, Any]


def encode_question(codec: Codec, question: ControlQuestion) -> tuple[bytes, str, str | None]:
    """Return body, content type and content encoding of a control request."""
    value: dict[str, Any] = {"do": question.what}
    if question.worker:
        value["worker"] = question.worker
    if question.service:
        value["service"] = question.service
    if question.criticality:
        value["class"] = question.criticality
    if question.holders:
        value["holders"] = list(question.holders)
    return codec.encode(value)


def decode_question(codec: Codec, request: ControlRequest) -> ControlQuestion:
    """Return what is asked.

    Raises:
        UnreadableControlError: it cannot be read, or asks for what this version does not know.
    """
    value = _object(codec, request.body, request.content_type, request.content_encoding)
    what, worker, service = value.get("do"), value.get("worker", ""), value.get("service", "")
    if what not in _QUESTIONS:
        raise UnreadableControlError(f"this worker does not know {repr(what)[:80]}: it knows {', '.join(_QUESTIONS)}")
    if not (isinstance(worker, str) and isinstance(service, str)):
        raise UnreadableControlError("the name of a worker and of a service is a text")
    if what != "places":
        return ControlQuestion(cast("Question", what), worker, service)
    criticality, holders = value.get("class", ""), value.get("holders", [])
    if not (isinstance(criticality, str) and isinstance(holders, list)) or len(holders) > LINKS_MAX:
        raise UnreadableControlError(f"a class is a text, and holders a list of at most {LINKS_MAX} texts")
    return ControlQuestion("places", worker, service, criticality, tuple(filter(is_place, holders)))


def worker_headers(name: str, worker_id: str, now: float) -> Headers:
    """Return the headers of an answer of one worker, given at ``now``, in seconds since 1970."""
    return {WORKER: printable(name)[:_NAME_MAX], WORKER_ID: worker_id, ANSWERED_AT: now}


def encode_answer(codec: Codec, value: dict[str, Any], refused: str = "") -> Reply:
    """Return the answer to a control request, without headers.

    Raises:
        ContentRejectedError: it is too large.
    """
    body, content_type, content_encoding = codec.encode({"refused": refused[:_REASON_MAX]} if refused else value)
    return Reply(body, content_type, content_encoding)


def decode_answer(codec: Codec, reply: Reply, on_loop: bool = True) -> ControlAnswer:
    """Read an answer.

    Raises:
        LargeBodyError: ``on_loop`` is set, and the body may take so long that a thread must decode it.
        UnreadableControlError: it cannot be read.
    """
    headers = reply.headers or {}
    worker, worker_id = headers.get(WORKER), headers.get(WORKER_ID)
    if not (isinstance(worker, str) and worker and isinstance(worker_id, str) and worker_id):
        raise UnreadableControlError("an answer without the name of its worker")
    value = _object(codec, reply.body, reply.content_type, reply.content_encoding, on_loop=on_loop)
    answered_at, refused = headers.get(ANSWERED_AT), value.get("refused", "")
    return ControlAnswer(
        worker[:_NAME_MAX],
        worker_id[:_NAME_MAX],
        float(answered_at) if isinstance(answered_at, int | float) else 0.0,
        refused[:_REASON_MAX] if isinstance(refused, str) else "",
        value,
    )


def _object(
    codec: Codec, body: bytes, content_type: str | None, content_encoding: str | None, *, on_loop: bool = False
) -> dict[str, Any]:
    try:
        value = codec.decode(body, content_type, content_encoding, on_loop=on_loop)
    except (SerializationError, ContentRejectedError) as error:
        raise UnreadableControlError(str(error)) from error
    if not isinstance(value, dict):
        raise UnreadableControlError("a control message is a JSON object")
    return value
