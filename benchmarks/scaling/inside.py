"""Asks a private node where its CPU time goes, and what its connections cost."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tools.broker import PrivateNode

# Counts for two seconds how long each kind of Erlang process on the path of a call runs. The tracing slows all of them
# down slightly and equally: the shares are accurate, the sums are not.
_SHARES = """
Name = fun(P) ->
    case process_info(P, dictionary) of
        {dictionary, D} ->
            case lists:keyfind(process_name, 1, D) of
                {_, {rabbit_amqqueue_process, {resource, _, queue, <<"rpc_", _/binary>>}}} -> service_queue;
                {_, {rabbit_amqqueue_process, _}} -> reply_queues;
                {_, N} when is_tuple(N) -> element(1, N);
                _ -> other
            end;
        _ -> other
    end
end,
Known = [rabbit_reader, rabbit_channel, rabbit_writer, service_queue, reply_queues],
Pids = maps:from_list([{P, N} || P <- processes(), N <- [Name(P)], lists:member(N, Known)]),
Loop = fun F(In, Sum) ->
    receive
        {trace_ts, P, in, _, Ts} -> F(In#{P => Ts}, Sum);
        {trace_ts, P, out, _, Ts} ->
            case maps:take(P, In) of
                {T, In1} -> C = maps:get(P, Pids), F(In1, Sum#{C => maps:get(C, Sum, 0) + Ts - T});
                error -> F(In, Sum)
            end;
        {stop, From} -> From ! {done, Sum}
    end
end,
Tracer = spawn(fun() -> Loop(#{}, #{}) end),
Trace = fun(On, Flags) -> [catch erlang:trace(P, On, Flags) || P <- maps:keys(Pids)] end,
Trace(true, [running, monotonic_timestamp, {tracer, Tracer}]),
timer:sleep(2000),
Trace(false, [running]),
Tracer ! {stop, self()},
receive {done, S} -> [io:format("~s ~w~n", [K, V]) || {K, V} <- maps:to_list(S)], ok end.
"""
_MEMORY = """
[garbage_collect(P) || P <- processes()],
M = rabbit_vm:memory(),
Kinds = [connection_readers, connection_writers, connection_channels, connection_other, queue_procs,
         metrics, mnesia, other_ets, other_proc],
io:format("held ~w~nbuffers ~w~nprocesses ~w~n",
    [lists:sum([V || {K, V} <- M, lists:member(K, Kinds)]), proplists:get_value(binary, M), length(processes())]).
"""


def pid_of(node: PrivateNode) -> int:
    """Return the process id of a node's Erlang VM."""
    return int(node.ctl("eval", "list_to_integer(os:getpid())."))


def _ask(node: PrivateNode, program: str) -> dict[str, float]:
    lines = node.ctl("eval", " ".join(program.split())).splitlines()
    return {name: float(value) for name, value in (line.split() for line in lines if line.count(" ") == 1)}


def shares(node: PrivateNode) -> dict[str, float]:
    """Return each kind's share of the time of all Erlang processes on the path of a call, traced for two seconds."""
    took = _ask(node, _SHARES)
    total = sum(took.values())
    return {name: value / total for name, value in took.items()}


def memory(node: PrivateNode, pid: int) -> dict[str, float]:
    """Return the memory of a node.

    ``held``: bytes in Erlang's processes and tables after a garbage collection; ``buffers``: bytes reserved outside of
    them, mostly for sockets; ``resident``: bytes of RAM; ``processes``: number of Erlang processes.
    """
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return _ask(node, _MEMORY) | {"resident": pages * os.sysconf("SC_PAGE_SIZE")}
