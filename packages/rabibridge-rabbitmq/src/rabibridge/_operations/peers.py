"""What a program that is no broker says when it is greeted as one."""

from __future__ import annotations

__all__ = ["describe_answer"]

_AMQP = b"AMQP"


def describe_answer(answer: bytes, problem: str) -> tuple[str, str]:
    """Return what answers at a port that does not speak AMQP 0-9-1, and what to do.

    Args:
        answer: its first bytes.
        problem: what is known if there are none.
    """
    if answer.startswith(_AMQP):
        return (
            "it speaks another version of AMQP than 0-9-1",
            "use the port of a RabbitMQ with its protocol AMQP 0-9-1: rabbitmq-diagnostics listeners",
        )
    if answer.startswith(b"HTTP/"):
        return (
            "an HTTP server answers",
            "use the port for AMQP, 5672 or 5671, instead of the management plug-in's 15672",
        )
    if answer:
        return f"something else than a RabbitMQ answers: {answer[:16]!r}", "check host and port"
    return (
        f"it takes connections, but does not speak AMQP: {problem or 'it closes them'}",
        "check host and port, any proxy or load balancer in between, and the log of the broker",
    )
