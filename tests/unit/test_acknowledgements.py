"""Acknowledging many requests with few frames, and none that is still in hand."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pamqp.frame
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands as spec

from rabibridge._transport.service_channel import acks

if TYPE_CHECKING:
    from random import Random


def _acknowledged_by(data: bytes, waiting: set[int]) -> set[int]:
    """Return the tags that a broker takes for acknowledged; it refuses what it does not wait for."""
    acknowledged = set[int]()
    while data:
        used, channel, frame = pamqp.frame.unmarshal(data)
        data = data[used:]
        assert channel == 3
        assert isinstance(frame, spec.Basic.Ack)
        assert frame.delivery_tag in waiting - acknowledged
        acknowledged |= (
            {tag for tag in waiting if tag <= frame.delivery_tag} if frame.multiple else {frame.delivery_tag}
        )
    return acknowledged


@given(st.lists(st.sampled_from(["in hand", "now", "before"]), max_size=30), st.randoms(use_true_random=False))
def test_exactly_what_is_settled_is_acknowledged(requests: list[str], random: Random) -> None:
    by_state: dict[str, list[int]] = {"in hand": [], "now": [], "before": []}
    for tag, state in zip(count(1), requests, strict=False):
        by_state[state].append(tag)
    now, in_hand = by_state["now"], by_state["in hand"]
    random.shuffle(now)
    frames = acks(3, now, min(in_hand, default=None))
    assert _acknowledged_by(frames, {*now, *in_hand}) == set(now)


def test_one_frame_does_for_all_that_lie_below_what_is_in_hand() -> None:
    assert len(acks(3, [7, 5, 6], None)) == len(acks(3, [7, 5, 6], 8)) == len(acks(3, [5], None))
    assert len(acks(3, [7, 5, 6], 4)) == 3 * len(acks(3, [5], None))
    assert acks(3, [], 4) == b""
