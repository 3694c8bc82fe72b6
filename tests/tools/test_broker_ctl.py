"""The quick way to run rabbitmqctl says what rabbitmqctl says."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from rabibridge_testing._servers.ctl import QuickCtl
from tools.broker import Broker, BrokerError, PrivateNode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def node(rabbitmq: Broker) -> PrivateNode:
    if not isinstance(rabbitmq, PrivateNode):
        pytest.skip("rabbitmqctl is run in its own way only on a private node")
    return rabbitmq


@pytest.mark.parametrize(
    "command",
    [
        ["list_vhosts"],
        ["list_queues", "name", "arguments", "--no-table-headers"],
        ["list_exchanges", "name", "type", "durable"],
        ["list_queues", "--vhost", "not there", "name"],
        ["eval", 'io:format("~ts~n", [[233]]), {1, "two"}.'],
    ],
    ids=lambda command: command[0],
)
def test_both_ways_print_the_same(node: PrivateNode, command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    quick = node.ctl(*command)
    monkeypatch.setattr(node, "_quick_ctl", QuickCtl(node.home.folder / "none" / "none"))
    assert node.ctl(*command) == quick


@pytest.mark.parametrize("command", [["nonsense"], ["add_user", "u"], ["eval", "exit(why)."]], ids=" ".join)
def test_a_command_that_fails_says_why_and_the_next_one_works(node: PrivateNode, command: list[str]) -> None:
    with pytest.raises(
        BrokerError, match=rf"rabbitmqctl {command[0]}.* failed on .*\n(.*\n)*.*(why|nonsense|Password)"
    ):
        node.ctl(*command)
    assert node.ctl("eval", "1 + 1.") == "2\n"


def test_a_command_that_takes_too_long(node: PrivateNode) -> None:
    with pytest.raises(BrokerError, match=r"took longer than 0\.5 s"):
        node.ctl("eval", "timer:sleep(20000).", timeout=0.5)
    assert node.ctl("eval", "1 + 1.") == "2\n"


def test_two_commands_at_once(node: PrivateNode, unique_name: Callable[[str], str]) -> None:
    """The first waits for the second."""
    name = unique_name("waiting")
    with ThreadPoolExecutor() as threads:
        first = threads.submit(node.ctl, "eval", f"register({name}, self()), receive done -> told end.")
        wait = (
            f"Wait = fun Wait() -> case whereis({name}) of undefined -> timer:sleep(10), Wait(); P -> P end end, Wait()"
        )
        node.ctl("eval", f"{wait} ! done.")
        assert first.result(30) == "told\n"


def test_without_the_program_there_is_no_quick_way(tmp_path: Path) -> None:
    quick = QuickCtl(tmp_path / "sbin" / "rabbitmqctl")
    assert quick.run(["list_vhosts"], folder=tmp_path, environment={}, timeout=1.0) is None
