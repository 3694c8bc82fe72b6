"""How a program runs a server, in this process or in several: ``server.run()``, and the helper of RabiBridge 0.1.

What only a supervisor needs is imported where one is started: most processes that import this module are workers.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rabibridge_core._api.serving import ServingBase
from rabibridge_core._hosting.program import loop_factory, serve_program
from rabibridge_core._hosting.worker.link import current_link
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RunningBase", "multiprocess_spawn_helper"]


class RunningBase(ServingBase):
    """What a server does that is all that its program does."""

    def run(
        self,
        *,
        workers: int | Literal["auto"] | None = None,
        reload: bool = False,
        bind_core: bool = False,
        loop: Literal["auto", "asyncio", "uvloop"] = "auto",
        wait_for_broker: bool = False,
        start_timeout: float = 60.0,
        max_calls_per_worker: int = 0,
        max_memory_per_worker: int = 0,
        pid_file: Path | str | None = None,
    ) -> None:
        """Connect, serve until SIGTERM or SIGINT, and disconnect. It makes the event loop; no other may run here.

        With ``workers``, this process starts so many others, and watches them. Each runs the program again, as it was
        started, up to this line, and serves here; then it exits, so that what follows runs in this process alone.
        docs/running.md says how workers are replaced, reloaded and stopped.

        Args:
            workers: how many processes serve; ``"auto"``: as many as there are cores for this process; ``None``: this
                one serves, without a supervisor.
            reload: replace the workers, one after another, when a Python file of the program changes: next to it, in
                its package, or in the folders of :meth:`load_plugins`. Without ``workers``, and with plug-in folders,
                it is as in :meth:`run_serve`.
            bind_core: bind each worker to one core, by turns.
            loop: the event loop; ``"auto"``: that of uvloop, if it is installed.
            wait_for_broker: try to connect at start until it succeeds, instead of ending with an error.
            start_timeout: how long a worker may take until it serves, in seconds.
            max_calls_per_worker: replace a worker after about so many calls; 0: never.
            max_memory_per_worker: replace a worker that uses so many bytes of memory; 0: never.
            pid_file: a file for the process id, which exists while the server runs; ``None``: none. Only with workers.

        Raises:
            ConnectionLostError: no broker could be reached.
            ConfigurationError: as in :meth:`connect` and :meth:`run_serve`; an event loop runs here; or no worker can
                start, and the text says why.
        """
        link = current_link()
        supervised = workers is not None or (reload and not self._folders)
        is_worker = supervised and link is not None and link.runs_again
        if is_worker or not supervised:
            if asyncio._get_running_loop() is not None:
                raise ConfigurationError("run() makes an event loop, and one runs here already: await run_serve()")
            with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
                runner.run(serve_program(self, reload=reload and not is_worker, wait_for_broker=wait_for_broker))
            if is_worker:
                sys.exit(0)
            return
        from rabibridge_core._hosting.supervisor.cores import worker_count
        from rabibridge_core._hosting.supervisor.options import SupervisorOptions, WorkerLaunch
        from rabibridge_core._hosting.supervisor.pid_file import pid_file as pid_file_of
        from rabibridge_core._hosting.supervisor.supervise import check_can_supervise, supervise
        from rabibridge_core._hosting.worker.programs import program_again

        check_can_supervise("run(workers=...)")
        loop_factory(loop)
        options = SupervisorOptions(
            worker_count(1 if workers is None else workers),
            bind_core=bind_core,
            start_timeout=start_timeout,
            max_calls=max_calls_per_worker,
            max_memory=max_memory_per_worker,
            watched=(*program_files(), *(folder.path for folder in self._folders)) if reload else (),
        )
        with pid_file_of(None if pid_file is None else Path(pid_file)):
            supervise(WorkerLaunch(program_again()), options)


def program_files() -> tuple[Path, ...]:
    """Return the folder of the running program: that of its package, else that of its file."""
    main: Any = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if file is None:
        return ()
    folder = Path(file).absolute().parent
    depth = spec.name.count(".") if spec is not None else 0
    return (folder.parents[depth - 2] if depth > 1 else folder,)


def multiprocess_spawn_helper(
    num_processes: int | None, single_process: Callable[[], object], *, bind_core: bool | None = False
) -> None:
    """Run a function in several processes, and wait until all have ended, as RabiBridge 0.1 did it.

    Each process imports the program anew, as those of :mod:`multiprocessing` do, and calls the function. One that dies
    is followed by another one; one whose function returns is not. SIGTERM and SIGINT let servers finish their calls,
    and end all processes; SIGHUP replaces them, one after another. docs/running.md has more. New programs use
    ``server.run(workers=...)`` or ``rabibridge run --workers``, which need no function.

    Args:
        num_processes: how many processes; ``None``: as many as there are cores for this process.
        single_process: a function without arguments at the top level of a module or of the program. It runs an event
            loop and a server on it, or anything else.
        bind_core: bind each process to one core, by turns if there are fewer cores.

    Raises:
        ConfigurationError: the number is none, another process would not find the function, an event loop runs here,
            this is called while a process imports the program, or the processes end as soon as they start.
    """
    from rabibridge_core._hosting.supervisor.cores import worker_count
    from rabibridge_core._hosting.supervisor.options import SupervisorOptions, WorkerLaunch
    from rabibridge_core._hosting.supervisor.supervise import check_can_supervise, supervise
    from rabibridge_core._hosting.worker.programs import function_program

    check_can_supervise("multiprocess_spawn_helper()")
    if not callable(single_process):
        raise ConfigurationError(f"single_process={single_process!r}: expected a function without arguments")
    launch = WorkerLaunch(function_program(single_process), serves=False)
    supervise(
        launch,
        SupervisorOptions(worker_count("auto" if num_processes is None else num_processes), bind_core=bool(bind_core)),
    )
