"""Which of several brokers a call goes to."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from rabibridge_core._client.shards import Shard, ShardSet, ranked


class Link:
    """A connection whose state the test sets."""

    def __init__(self) -> None:
        self.open = True
        self.pending = 0


@pytest.fixture(autouse=True)
def seed() -> None:
    random.seed(20)


def shards(number: int) -> tuple[ShardSet, list[Link], list[Shard]]:
    links = [Link() for _ in range(number)]
    made = [Shard(f"broker {position}", link) for position, link in enumerate(links)]
    return ShardSet(made), links, made


def counted(among: ShardSet, calls: int, now: float = 0.0) -> Counter[str]:
    found: Counter[str] = Counter()
    for _ in range(calls):
        chosen = among.any_of("work", (), now)
        assert chosen is not None
        found[chosen.name] += 1
    return found


def test_a_key_stays_with_its_broker_when_one_is_added_or_removed() -> None:
    names = [f"broker {number}" for number in range(5)]
    keys = [f"customer {number}" for number in range(2000)]
    before = {key: names[ranked(names, key)[0]] for key in keys}
    assert all(abs(count - 400) < 100 for count in Counter(before.values()).values())
    more = [*names, "a new one"]
    after = {key: more[ranked(more, key)[0]] for key in keys}
    moved = [key for key in keys if after[key] != before[key]]
    assert {after[key] for key in moved} == {"a new one"}
    assert 200 < len(moved) < 470
    less = names[1:]
    without = {key: less[ranked(less, key)[0]] for key in keys}
    assert all(without[key] == before[key] for key in keys if before[key] != names[0])


def test_the_order_in_which_brokers_are_named_does_not_matter() -> None:
    names = ["east", "west", "north", "süd\ud800"]
    for key in ("", "a", "\ud800"):
        order = [names[position] for position in ranked(names, key)]
        turned = names[::-1]
        assert [turned[position] for position in ranked(turned, key)] == order


def test_a_key_prefers_the_brokers_in_one_order() -> None:
    among, _, made = shards(3)
    assert among.of_key("k") == [made[position] for position in ranked([shard.name for shard in made], "k")]


def test_idle_brokers_get_the_same() -> None:
    """Trap: a scan of all, with ties broken by position, sends every client to the first."""
    among, _, _ = shards(4)
    found = counted(among, 4000)
    assert len(found) == 4
    assert all(abs(count - 1000) < 3 * (4000 * 0.25 * 0.75) ** 0.5 for count in found.values())


def test_a_hundred_clients_that_start_together_spread() -> None:
    found = Counter[str]()
    for _ in range(100):
        among, _, _ = shards(4)
        found += counted(among, 1)
    assert all(abs(count - 25) < 3 * (100 * 0.25 * 0.75) ** 0.5 for count in found.values())


def test_the_one_with_less_in_hand_is_preferred() -> None:
    among, links, _ = shards(2)
    links[0].pending = 30
    assert counted(among, 1000)["broker 1"] > 950


def test_two_slow_ones_of_four_get_nothing_until_that_is_long_ago() -> None:
    """Trap: the better one of two that are drawn may still be slow."""
    among, _, made = shards(4)
    for shard, seconds in zip(made, (0.01, 0.01, 1.0, 1.0), strict=True):
        shard.took("work", seconds, 100.0)
    found = counted(among, 1000, 101.0)
    assert set(found) == {"broker 0", "broker 1"}
    assert set(counted(among, 1000, 111.0)) == {shard.name for shard in made}


def test_small_differences_exclude_nobody() -> None:
    among, _, made = shards(3)
    for shard, seconds in zip(made, (0.0001, 0.004, 0.002), strict=True):
        shard.took("work", seconds, 100.0)
    found = counted(among, 3000, 100.0)
    assert all(count > 500 for count in found.values())


def test_times_are_those_of_one_service() -> None:
    among, _, made = shards(2)
    made[0].took("long", 5.0, 100.0)
    made[1].took("work", 0.01, 100.0)
    assert counted(among, 1000, 100.0)["broker 0"] > 300


def test_one_time_by_chance_moves_the_average_little() -> None:
    _, _, (shard,) = shards(1)
    for second in range(20):
        shard.took("work", 0.1, 100.0 + second / 10)
    shard.took("work", 0.0001, 102.0)
    assert (shard.seconds("work", 102.0) or 0) > 0.07


def test_a_broker_that_refuses_at_once_gets_less_not_more() -> None:
    """Trap: what fails quickly must not look fast."""
    among, _, made = shards(3)
    for shard in made:
        shard.took("work", 0.2, 100.0)
    made[0].refused("work", None, 100.0)
    assert "broker 0" not in counted(among, 300, 100.1)
    assert "broker 0" in counted(among, 300, 101.0)
    made[1].absent("work", 200.0)
    assert "broker 1" not in counted(among, 300, 202.0)
    assert "broker 1" in counted(among, 300, 206.0)
    assert made[0].seconds("work", 100.0) == 0.2


def test_a_refusal_counts_no_longer_than_the_backlog() -> None:
    _, _, (shard,) = shards(1)
    shard.refused("work", 0.01, 100.0)
    assert shard.avoids("work", 100.001)
    assert not shard.avoids("work", 100.02)


def test_a_broker_that_falls_silent_is_avoided_until_it_is_heard() -> None:
    among, _, made = shards(3)
    made[0].took("work", 0.01, 100.0)
    for now in (100.0, 100.1):
        made[0].sent("work", now)
    assert "broker 0" in counted(among, 300, 100.4)
    assert "broker 0" not in counted(among, 300, 100.7)
    made[0].took("work", 0.6, 100.7)
    made[0].ended("work")
    assert "broker 0" in counted(among, 300, 101.0)
    made[0].ended("work")
    assert "broker 0" in counted(among, 300, 200.0)


def test_a_service_that_takes_long_is_not_silent() -> None:
    among, _, made = shards(2)
    for shard in made:
        shard.took("work", 10.0, 100.0)
    made[0].sent("work", 100.0)
    assert "broker 0" in counted(among, 300, 109.0)


def test_if_all_refuse_all_are_asked() -> None:
    among, _, made = shards(2)
    for shard in made:
        shard.refused("work", None, 100.0)
    assert len(counted(among, 100, 100.0)) == 2


def test_what_cannot_be_reached_is_left_out() -> None:
    among, links, made = shards(3)
    links[1].open = False
    assert set(counted(among, 200)) == {"broker 0", "broker 2"}
    assert among.any_of("work", made[:1], 0.0) is made[2]
    assert among.any_of("work", (made[0], made[2]), 0.0) is None


def test_services_are_remembered_within_bounds() -> None:
    _, _, (shard,) = shards(1)
    for number in range(5000):
        shard.took(f"service {number}", 0.1, 100.0)
    assert len(shard._services) <= 1024
