"""rabbitmqctl without its start-up time.

Most of the time of a ``rabbitmqctl`` goes into starting an Erlang machine and loading a program of 500 modules. This
module keeps one Erlang machine with that program and hands it one command after the other: 0.01 s each instead of
0.7 s. What it cannot do, or what does not succeed there, is left to the real ``rabbitmqctl``, which also words the
errors.
"""

from __future__ import annotations

import base64
import contextlib
import shutil
import subprocess
import threading
import zipfile
from typing import TYPE_CHECKING

from rabibridge_testing._servers.base import BrokerError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# A command is a line: its arguments, separated by NUL, in base64. So is the answer: its exit status and its output.
_PROGRAM = """
{ok, _} = application:ensure_all_started(elixir),
ok = application:load(rabbitmqctl),
Run = fun(Args) ->
    {ok, Output} = 'Elixir.StringIO':open(<<>>),
    {_, Monitor} = spawn_monitor(fun() -> group_leader(Output, self()), 'Elixir.RabbitMQCtl':main(Args) end),
    Status = receive
        {'DOWN', Monitor, _, _, normal} -> 0;
        {'DOWN', Monitor, _, _, {shutdown, Code}} when is_integer(Code) -> Code;
        {'DOWN', Monitor, _, _, _} -> 255
    end,
    {ok, {_, Text}} = 'Elixir.StringIO':close(Output),
    io:format("~w ~s~n", [Status, base64:encode(Text)])
end,
Loop = fun Loop() ->
    case io:get_line("") of
        eof -> halt();
        Line -> Run(binary:split(base64:decode(string:trim(Line)), <<0>>, [global])), Loop()
    end
end,
Loop().
"""
_STARTS = 5
_FLAGS = ("-noshell", "-boot", "no_dot_erlang", "+S", "1:1", "+sbwt", "none")


class QuickCtl:
    """An Erlang machine that runs the commands of ``rabbitmqctl``; it ends with this process."""

    def __init__(self, rabbitmqctl: Path) -> None:
        """Keep the path of the ``rabbitmqctl`` script; nothing is started."""
        self._archive = rabbitmqctl.resolve().parents[1] / "escript" / "rabbitmqctl"
        self._erl = shutil.which("erl")
        self._starts_left = _STARTS if self._erl is not None and self._archive.is_file() else 0
        self._process: subprocess.Popen[bytes] | None = None
        self._busy = threading.Lock()

    def run(self, args: Sequence[str], *, folder: Path, environment: Mapping[str, str], timeout: float) -> str | None:
        """Run a command and return its output; None if only the real ``rabbitmqctl`` can do it, or tell why it fails.

        Args:
            args: the arguments of ``rabbitmqctl``.
            folder: where the program is unpacked and logs.
            environment: what a ``rabbitmqctl`` of the same node is started with.
            timeout: seconds it may take.

        Raises:
            BrokerError: it takes longer.
        """
        # A second command that comes meanwhile may be what the first one waits for.
        if not self._starts_left or not self._busy.acquire(blocking=False):
            return None
        try:
            process = self._process = self._process or self._start(folder, environment)
            line = _exchange(process, args, timeout)
            status, _, output = line.partition(b" ")
            if status == b"0" and output.endswith(b"\n"):
                return base64.b64decode(output).decode()
            self.close()  # some commands that fail leave the Erlang machine useless, or end it
            if not output:
                self._starts_left -= 1
            return None
        finally:
            self._busy.release()

    def close(self) -> None:
        """End the Erlang machine; the next command would start another."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _start(self, folder: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        modules = folder / "rabbitmqctl"
        with zipfile.ZipFile(self._archive) as archive:
            archive.extractall(modules)
        # The last argument is where the program looks for its name.
        command = [str(self._erl), *_FLAGS, "-pa", str(modules), "-eval", _PROGRAM, "-extra", "rabbitmqctl"]
        with (folder / "rabbitmqctl.log").open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )


def _exchange(process: subprocess.Popen[bytes], args: Sequence[str], timeout: float) -> bytes:
    """Send a command and return the line that answers it, which is not complete if the process has ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    late = threading.Event()

    def kill() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(timeout, kill)
    timer.start()
    try:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(base64.b64encode("\0".join(args).encode()) + b"\n")
            process.stdin.flush()
        line = process.stdout.readline()
    finally:
        timer.cancel()
    if late.is_set():
        raise BrokerError(f"rabbitmqctl {' '.join(args)} took longer than {timeout:g} s")
    return line
