"""``rabibridge call`` and ``rabibridge notify``, as a script sees them."""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.waiting import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Command


def _appears(path: Path) -> None:
    until = time.monotonic() + PATIENCE
    while not path.exists():
        assert time.monotonic() < until, f"{path} does not appear"
        time.sleep(0.02)
    path.unlink()


def test_arguments_are_json_text_files_and_standard_input(worker: Command) -> None:
    assert worker("call", "add", "-1", "-.5").stdout == "-1.5\n"
    assert worker("call", "--timeout", "60", "add", "--", "-1", "2").stdout == "1\n"
    words = ("[1, 2]", "text", "NaN", "@@at", '"[quoted"', '{"$rb": ["bytes", "AP8="]}')
    shown = [worker("call", "echo", word) for word in words[2:]]
    assert [done.stdout for done in shown] == [
        '"NaN"\n',
        '"@at"\n',
        '"[quoted"\n',
        '{"$rb": ["bytes", "AP8="]}\n',
    ]
    (worker.folder / "large.json").write_text(json.dumps(list(range(100_000))))
    assert json.loads(worker("call", "echo", "@large.json").stdout) == list(range(100_000))
    assert worker("call", "echo", "-", stdin='{"a": 1}').stdout == '{"a": 1}\n'
    assert worker("call", "add", "1", "--kwargs", "@-", stdin='{"b": 41}').stdout == "42\n"


def test_results_are_strict_json_with_a_form_for_what_json_lacks(worker: Command) -> None:
    done = worker("call", "odd")

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is not JSON")

    assert json.loads(done.stdout, parse_constant=refuse) == {
        "bytes": {"$rb": ["bytes", "AP8="]},
        "date": {"$rb": ["date", "2024-05-17"]},
        "decimal": {"$rb": ["decimal", "1.50"]},
        "tuple": [1, 2],
        "set": {"$rb": ["set", [1]]},
        "not a number": {"$rb": ["float", "nan"]},
        "infinite": {"$rb": ["float", "-inf"]},
        "\x9b31m": "\u202e",
    }
    assert done.stdout.rstrip("\n").isprintable()
    assert json.loads(worker("call", "echo", "-", stdin=done.stdout).stdout) == json.loads(done.stdout)


def test_options_reach_the_function(worker: Command) -> None:
    options = ("--header", "tenant=a=b", "-H", "x=1", "--idempotency-key", "k", "--criticality", "batch")
    told = json.loads(worker("call", "about_call", *options, "--timeout", "60").stdout)
    assert told["headers"].items() >= {"tenant": "a=b", "x": "1"}.items()
    assert 10 < told["time_left"] < 120, "neither the default nor none"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["fail"], 1, "error: RemoteExecutionError (it ran): 'fail' failed on the worker: builtins.LookupError"),
        (["add", "1", "--tiemout", "3"], 2, "--timeout"),
        (["echo", "[1"], 2, "looks like JSON but is not"),
        (["add", "1", "--kwargs", "[1]"], 2, "must be a JSON object"),
        (["add", "1", "--timeout", "-1"], 2, "--timeout"),
        (["two words"], 2, "is not a service name"),
        (["add", "@missing.json"], 2, "missing.json: No such file"),
        (["add", "-", "-"], 2, "can be read once"),
        (["nothing\n"], 2, r"nothing\n"),
        (["nobody"], 6, "error: NoRouteError (it did not run)"),
        (["wait", "--timeout", "0.5"], 7, "error: CallTimeoutError (it may have run)"),
        (["add", "1", "2", "3"], 8, "error: InvalidArgumentsError (it did not run): the arguments do not fit 'add'"),
        (["typed", "x", "1"], 8, "the arguments do not fit 'typed': 0: Input should be a valid integer"),
        (["count", "1"], 8, "streams its items"),
    ],
    ids=lambda value: "-".join(value).replace("\n", " ") if isinstance(value, list) else "",
)
def test_scripts_can_tell_failures_apart(worker: Command, arguments: list[str], status: int, said: str) -> None:
    done = worker("call", *arguments)
    assert done.returncode == status, done.stderr
    assert said in done.stderr
    assert done.stdout == ""
    if status != 1:
        assert "Traceback" not in done.stderr
    else:
        assert "services.py" in done.stderr
        assert done.stderr.replace("\n", "").isprintable()
        assert r"nothing here \x1b[31m\n  error: forged" in done.stderr.splitlines()[0]


def test_a_full_queue_and_an_error_as_json(worker: Command) -> None:
    with worker.start("call", "narrow", "--timeout", "60") as running:
        _appears(worker.folder / "narrow.began")
        assert worker("notify", "narrow").returncode == 0
        refused = worker("call", "narrow", "--json")
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 130
    assert refused.returncode == 5
    error = json.loads(refused.stderr)["error"]
    assert (error["type"], error["exit_status"], error["executed"]) == ("rabibridge.errors.QueueFullError", 5, False)


def test_without_a_broker_or_settings(worker: Command) -> None:
    unreachable = worker("call", "add", RABIBRIDGE_URL="amqp://u:p@127.0.0.1:1/")
    assert (unreachable.returncode, unreachable.stdout) == (4, "")
    unset = worker("call", "add", RABIBRIDGE_URL="")
    assert unset.returncode == 3
    assert "RABIBRIDGE_URL" in unset.stderr
    assert worker("--config", "missing.toml", "call", "add", RABIBRIDGE_URL="").returncode == 3


def test_ctrl_c_cancels_the_call_which_reports_its_progress_on_stderr(worker: Command) -> None:
    with worker.start("call", "wait", "--timeout", "60") as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "progress: 25% it runs\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "")
    _appears(worker.folder / "wait.ended")


def test_a_stream_prints_each_item_at_once_and_fails_with_a_status(worker: Command) -> None:
    done = worker("call", "count", "3", "--stream")
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n1\n2\n", "")
    failed = worker("call", "count", "5", "2", "--stream")
    assert (failed.returncode, failed.stdout) == (1, "0\n1\n")
    assert "ValueError: in the middle" in failed.stderr
    assert "after 2 items" in failed.stderr
    as_json = worker("call", "count", "5", "2", "--stream", "--json")
    assert json.loads(as_json.stderr)["error"]["received"] == 2
    (worker.folder / "count.ended").unlink()


def test_a_reader_that_goes_away_cancels_the_stream_quietly(worker: Command) -> None:
    with worker.start("call", "count", "1000000000", "--stream") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "0\n"
        process.stdout.close()
        assert process.wait(60) == 141
        assert process.stderr.read() == ""
    _appears(worker.folder / "count.ended")


def test_ctrl_c_while_nobody_reads_ends_a_stream(worker: Command) -> None:
    with worker.start("call", "count", "1000000000", "--stream") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "0\n"
        process.send_signal(signal.SIGINT)  # it waits in a write: the pipe is full, or soon will be
        assert process.wait(60) == 130
    _appears(worker.folder / "count.ended")


def test_a_notification_runs_and_prints_nothing(worker: Command) -> None:
    done = worker("notify", "note", "done")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    until = time.monotonic() + PATIENCE
    while not (worker.folder / "note.txt").exists() or (worker.folder / "note.txt").read_text() != "done":
        assert time.monotonic() < until
        time.sleep(0.02)
    assert worker("notify", "nobody").returncode == 6
