"""Acknowledging many requests with few frames, and none that is still active."""

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
    """Return the tags that a broker regards as acknowledged. It refuses tags that are not unacknowledged."""
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


@given(st.lists(st.sampled_from(["active", "now", "before"]), max_size=30), st.randoms(use_true_random=False))
def test_exactly_what_is_settled_is_acknowledged(requests: list[str], random: Random) -> None:
    by_state: dict[str, list[int]] = {"active": [], "now": [], "before": []}
    for tag, state in zip(count(1), requests, strict=False):
        by_state[state].append(tag)
    now, active = by_state["now"], by_state["active"]
    random.shuffle(now)
    frames = acks(3, now, min(active, default=None))
    assert _acknowledged_by(frames, {*now, *active}) == set(now)


def test_one_frame_acknowledges_all_tags_below_the_first_active_one() -> None:
    assert len(acks(3, [7, 5, 6], None)) == len(acks(3, [7, 5, 6], 8)) == len(acks(3, [5], None))
    assert len(acks(3, [7, 5, 6], 4)) == 3 * len(acks(3, [5], None))
    assert acks(3, [], 4) == b""
