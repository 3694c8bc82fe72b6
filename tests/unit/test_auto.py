"""``fetch_size="auto"``: how it is said, where it is accepted, and what becomes of it."""

from __future__ import annotations

import asyncio
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import RegistrationError, RMQClient, RMQServer, auto, register_call
from rabibridge_core._server.adaptive_service import AdaptiveServiceRunner
from rabibridge_core._services.limits import ServiceLimits
from rabibridge_core._services.schema import ServiceSchema
from rabibridge_core.errors import ConfigurationError
from rabibridge_core.settings import Settings, load_settings

if TYPE_CHECKING:
    from rabibridge_testing import FakeBroker


async def work() -> int:
    return 1


def in_thread() -> int:
    return 1


def _schema(func: Any = work, **limits: Any) -> ServiceSchema:
    return ServiceSchema.of(func, ServiceLimits(**limits))


def test_it_shows_its_bounds_and_can_be_pickled() -> None:
    assert repr(auto(4, 64)) == "auto(min=4, max=64)"
    assert pickle.loads(pickle.dumps(auto(4, 64))) == auto(4, 64)
    assert auto() == auto(min=1, max=None)


@pytest.mark.parametrize("bounds", [(0, 4), (5, 4), (1, 65_536), (True, 4), (1.0, 4), ("1", 4), (None, 4)])
def test_bounds_that_make_no_sense_are_refused_when_they_are_written(bounds: tuple[Any, Any]) -> None:
    with pytest.raises(RegistrationError, match="whole numbers from 1 to 65535"):
        auto(*bounds)


def test_the_word_means_the_usual_bounds() -> None:
    assert _schema(fetch_size="auto").fetch_size == auto()
    assert _schema(fetch_size="auto").bounds == (1, 1024)
    assert _schema(in_thread, fetch_size="auto").bounds == (1, 128)
    assert _schema(fetch_size=auto(2000)).bounds == (2000, 2000)
    assert _schema(fetch_size=auto(2, 6)).bounds == (2, 6)
    assert _schema(fetch_size=6).bounds is None


@pytest.mark.parametrize("given", ["AUTO!", "", "auto(", 0, 1.5, True, 65_536])
def test_anything_else_is_refused_with_all_that_is_allowed(given: Any) -> None:
    with pytest.raises(RegistrationError, match=r"fetch_size is .*1 to 65535, 'auto', or auto\(min, max\)"):
        register_call(fetch_size=given)(work)


def test_child_processes_have_a_processor_each() -> None:
    with pytest.raises(RegistrationError, match="executor='process'"):
        _schema(in_thread, fetch_size="auto", executor="process")


def test_the_first_fetch_is_small_and_no_limit_is_above_the_bounds() -> None:
    assert _schema(fetch_size="auto").queue.fetch_size == 16
    assert _schema(fetch_size=auto(1, 3)).queue.fetch_size == 6
    assert _schema(fetch_size=auto(1, 3), delivery="at-most-once").queue.fetch_size == 3
    assert _schema(fetch_size=auto(1, 3), fair=True).queue.fetch_size == 6
    assert _schema(in_thread, fetch_size=auto(1, 70)).most == 70


@pytest.mark.parametrize(
    ("text", "kept"), [("auto", "auto"), ("AUTO", "auto"), ("auto(4, 64)", "auto(4, 64)"), ("12", 12), ("none", None)]
)
def test_the_setting_takes_what_the_argument_takes(text: str, kept: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABIBRIDGE_FETCH_SIZE", text)
    assert load_settings(require_broker=False).fetch_size == kept


@pytest.mark.parametrize("text", ["auto(4", "auto(9, 4)", "auto(0)", "much", "0", "70000"])
def test_a_setting_that_makes_no_sense_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABIBRIDGE_FETCH_SIZE", text)
    with pytest.raises(ConfigurationError, match="auto"):
        load_settings(require_broker=False)
    with pytest.raises(ConfigurationError, match="auto"):
        Settings(fetch_size=text)


async def test_the_setting_holds_for_services_that_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABIBRIDGE_FETCH_SIZE", "auto(2, 5)")
    async with RMQServer(url="memory://auto") as server:
        server.add_service(work)
        server.add_service(work, fetch_size=7, name="fixed")
        async with server.serving():
            bounds = {name: runner.schema.bounds for name, runner in server._server.services.runners.items()}
            assert bounds == {"work": (2, 5), "fixed": None}
            async with RMQClient(url="memory://auto") as client:
                assert await client.remote_call("work") == 1


async def test_the_fake_broker_finds_out_as_well(fake_broker: FakeBroker) -> None:
    running = most = 0

    async def bears() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.05)
        running -= 1

    fake_broker.add_service(bears, fetch_size="auto")
    async with RMQClient() as client:
        await asyncio.gather(*(client.remote_call("bears") for _ in range(1500)))
    assert most > 8


async def test_a_call_that_fails_is_told_from_one_that_gives_a_result() -> None:
    told: list[bool] = []

    async def fails(count: int) -> int:
        if count % 2:
            raise ValueError(count)
        return count

    async with RMQServer(url="memory://failing") as server, RMQClient(url="memory://failing") as client:
        server.add_service(fails, fetch_size="auto")
        async with server.serving():
            runner = server._server.services.runners["fails"]
            assert isinstance(runner, AdaptiveServiceRunner)
            runner.adaptive = _Told(runner.adaptive, told)  # type: ignore[assignment]
            await asyncio.gather(*(client.remote_call("fails", (count,)) for count in range(4)), return_exceptions=True)
    assert sorted(told) == [False, False, True, True]


class _Told:
    """Notes what the rule is told."""

    def __init__(self, rule: Any, told: list[bool]) -> None:
        self._rule, self._told = rule, told

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rule, name)

    def ended(self, now: float, started_at: float, *, succeeded: bool) -> None:
        self._told.append(succeeded)
        self._rule.ended(now, started_at, succeeded=succeeded)


async def test_the_limit_its_bounds_and_the_no_load_latency_are_told_to_whoever_asks() -> None:
    async def takes_a_while() -> None:
        await asyncio.sleep(0.005)

    async with RMQServer(url="memory://told") as server, RMQClient(url="memory://told") as client:
        server.add_service(takes_a_while, fetch_size=auto(2, 9))
        server.add_service(work, fetch_size=3)
        async with server.serving():
            for _ in range(40):
                await asyncio.gather(*(client.remote_call("takes_a_while") for _ in range(20)))
            found = await client.services()
            on_worker = {one.name: one for worker in await client.workers() for one in worker.services}
    for one in (found.get("takes_a_while"), on_worker["takes_a_while"]):
        assert one is not None
        assert 2 <= one.concurrency <= 9
        assert (one.concurrency_min, one.concurrency_max) == (2, 9)
        assert one.no_load_latency is not None
        assert one.no_load_latency >= 0.004
        assert one.to_json()["concurrency_max"] == 9
    fixed = found.get("work")
    assert fixed is not None
    assert (fixed.concurrency, fixed.concurrency_min, fixed.no_load_latency) == (3, None, None)
    assert (found.get("takes_a_while") or fixed).limits["fetch_size"] == "auto(2, 9)"
