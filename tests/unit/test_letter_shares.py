"""The share of dead letters that each sender has by one worker: at the limit, and one above."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge._transport.letter_shares import OF_ALL, LetterShares

if TYPE_CHECKING:
    import pytest

LETTER = 1_000
KEPT = 10
SHARE = KEPT * (LETTER + 512)


class Clock:
    """Seconds that a test sets."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def _kept(shares: LetterShares, user: str, address: bytes, count: int, service: str = "add") -> int:
    return sum(shares.admit(user, address, service, LETTER) for _ in range(count))


def test_a_user_gets_its_share_and_takes_nothing_from_others() -> None:
    shares = LetterShares("worker", SHARE, Clock())
    assert _kept(shares, "eve", b"a", KEPT) == KEPT
    assert not shares.admit("eve", b"a", "add", LETTER), "one above"
    assert not shares.admit("eve", b"another address", "add", LETTER)
    assert _kept(shares, "bob", b"b", 1) == 1
    assert _kept(shares, "", b"c", 1) == 1


def test_a_flood_at_one_service_leaves_room_for_the_letters_of_others_of_the_same_user() -> None:
    shares = LetterShares("worker", SHARE, Clock())
    assert _kept(shares, "everybody", b"", 10_000, "flooded") == KEPT
    assert _kept(shares, "everybody", b"", 2, "other") == 2
    of_all = KEPT + 2 + sum(_kept(shares, "everybody", b"", 100, f"service {number}") for number in range(100))
    assert of_all == OF_ALL * KEPT, "who floods all services gets no more"
    assert _kept(shares, "bob", b"", 1, "flooded") == 1


def test_a_large_letter_is_kept_once() -> None:
    shares = LetterShares("worker", SHARE, Clock())
    assert shares.admit("eve", b"", "add", 100 * SHARE)
    assert not shares.admit("eve", b"", "add", 1)


def test_an_address_has_a_share_and_all_addresses_together_have_one() -> None:
    shares = LetterShares("worker", SHARE, Clock())
    assert _kept(shares, "", b"address", 100) == KEPT
    others = sum(shares.admit("", b"address %d" % number, "add", LETTER) for number in range(1_000))
    assert KEPT + others == OF_ALL * KEPT, "a sender that changes its address gets no more"
    assert _kept(shares, "bob", b"b", 1) == 1


def test_a_share_comes_back_in_the_course_of_a_day() -> None:
    clock = Clock()
    shares = LetterShares("worker", SHARE, clock)
    assert _kept(shares, "eve", b"", 100) == KEPT
    clock.now += 12 * 3600
    assert _kept(shares, "eve", b"", 100) == KEPT // 2
    clock.now += 30 * 24 * 3600
    assert _kept(shares, "eve", b"", 100) == KEPT, "and no more"


def test_what_is_dropped_is_counted_in_one_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    shares = LetterShares("worker", SHARE, clock)
    _kept(shares, "", b"amq.gen-\x1b[2J\nforged", KEPT + 500)
    (line,) = caplog.messages
    assert "has used up its share of dead letters" in line
    assert "amq.gen-\\x1b[2J\\nforged" in line
    clock.now += 61
    _kept(shares, "", b"amq.gen-\x1b[2J\nforged", 1)
    assert caplog.messages[1].startswith("499 more times within 60 s: worker: a sender has used up its share")


def test_few_senders_are_remembered() -> None:
    shares = LetterShares("worker", SHARE, Clock())
    for number in range(10_000):
        shares.admit(f"user {number}", b"", "add", LETTER)
    assert len(shares._left) <= 8_192
    assert not shares.admit("user 9999", b"", "add", 100 * SHARE), "it has used some of its share"
    assert _kept(shares, "user 9999", b"", KEPT) == KEPT - 1
