"""What was sent of a stream and not yet consumed never exceeds the window of its caller."""

from __future__ import annotations

import pytest

from rabibridge_core._protocol.streams import Window
from rabibridge_core._server.outstanding import Outstanding


def test_it_is_full_with_as_many_messages_as_the_window_has() -> None:
    out = Outstanding(Window(2, 1000))
    assert not out.full
    out.sent(1)
    assert not out.full
    out.sent(1)
    assert out.full
    assert out.consumed(1)
    assert not out.full


def test_it_is_full_with_as_many_bytes_as_the_window_has() -> None:
    out = Outstanding(Window(100, 10))
    out.sent(9)
    assert not out.full
    out.sent(1)
    assert out.full
    assert out.consumed(1)  # the nine
    out.sent(8)
    assert not out.full
    out.sent(1)
    assert out.full


def test_a_message_that_could_not_be_sent_takes_no_room() -> None:
    out = Outstanding(Window(2, 10))
    out.sent(9)
    out.sent(1)
    out.unsent()
    assert not out.full
    out.sent(1)
    assert out.full


@pytest.mark.parametrize("count", [-1, 0, 2, 5])
def test_a_report_that_says_nothing_new_or_cannot_be_is_not_taken(count: int) -> None:
    out = Outstanding(Window(3, 1000))
    for _ in range(4):
        out.sent(1)
    assert out.consumed(2)
    assert not out.consumed(count)
    assert out.consumed(4)
    assert not out.full
