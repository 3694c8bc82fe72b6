"""Counters in memory that outlive the process that counts: what metrics are read from.

A worker process counts in memory that its supervisor has given it and can read. So nothing is lost when the worker is
killed, nothing has to be sent, and no file is left. A process without a supervisor counts in memory of its own.

The memory holds blocks, one after another. A block belongs to one metric and one set of labels, or to several sets that
differ in one label, and consists of 64-bit cells. It is written by one thread only; blocks of one metric are added by
whoever reads. A block is complete before the mark that says how far the memory is used includes it. A cell is aligned,
so that a reader sees the value before or after a change, never a half of each, whenever the writer is killed.
"""

from __future__ import annotations

import json
import mmap
import os
import sys
import tempfile
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["CAPACITY", "Block", "BlockKind", "Cells", "MetricStore", "shared_memory_file"]

_log = get_logger(__name__)
BlockKind: TypeAlias = Literal["counter", "seconds", "gauge", "longest", "histogram", "exemplars"]
"""``counter``: whole numbers that grow; ``seconds``: floats that grow; ``gauge``: floats that are added over processes;
``longest``: floats of which the largest counts; ``histogram``: the buckets of ``introspection.latency``, and the sum as
a float; ``exemplars``: see ``metric_exemplars``."""
CAPACITY: Final = 64 * 2**20
"""The size of the memory, of which only what is used takes room, in bytes: 10,000 services and more."""
_CAPACITY_ALONE: Final = CAPACITY if sys.platform != "win32" else CAPACITY // 16
"""The same for a process that counts for itself: Windows sets memory apart before it is used."""
_MAGIC: Final = 0x0031_7363_6972_6D62  # "bmrics1", and what changes when the layout does
_HEADER: Final = 4  # cells: magic, used cells, two that are free
_FLOATS: Final = frozenset(("seconds", "gauge", "longest"))


@dataclass(frozen=True, slots=True)
class Block:
    """What a block counts.

    Attributes:
        kind: what its cells are.
        name: the metric, without prefix and suffix.
        labels: names and values.
        varies: the name of the label in which the cells differ; empty: in none.
        values: its values, one a cell; of cells without a name: one empty one each.
    """

    kind: BlockKind
    name: str
    labels: tuple[tuple[str, str], ...] = ()
    varies: str = ""
    values: tuple[str, ...] = ("",)

    def encoded(self, writer: int, owner: int, size: int) -> bytes:
        """Return it as the memory holds it."""
        return json.dumps(
            [self.kind, self.name, self.labels, self.varies, self.values, size, writer, owner], separators=(",", ":")
        ).encode()

    @classmethod
    def decoded(cls, encoded: bytes) -> Block:
        """Make it again; raise ValueError if it is none that this version knows."""
        kind, name, labels, varies, values, *_ = json.loads(encoded)
        return cls(kind, name, tuple((key, value) for key, value in labels), varies, tuple(values))


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells of one block: ``whole[i] += 1`` counts, ``real[i] += seconds`` adds. Only one thread may write them."""

    whole: Any
    """The cells as unsigned whole numbers of 64 bits."""
    real: Any
    """The same cells as floats."""


class MetricStore:
    """The blocks of one process; whoever else has the memory can read them."""

    def __init__(self, memory: mmap.mmap | bytearray | None = None) -> None:
        """Use ``memory``, which is empty or was used by another store; ``None``: memory of this process alone."""
        self._memory: Any = mmap.mmap(-1, _CAPACITY_ALONE) if memory is None else memory
        self._whole = memoryview(self._memory).cast("Q")
        self._real = memoryview(self._memory).cast("d")
        self._lock, self._barrier = threading.Lock(), threading.Lock()
        self._cells: dict[bytes, Cells] = {}
        self._known: list[tuple[Block, int, int]] = []
        self._known_to = _HEADER
        self._writers = _Writers()
        self._full = False
        if not self._whole[0]:
            self._whole[1] = _HEADER
            self._whole[0] = _MAGIC
        self.usable = self._whole[0] == _MAGIC
        """Whether the memory has a layout that this version can read: not that of a worker with other code."""

    @classmethod
    def opened(cls, descriptor: int) -> MetricStore:
        """Return the store in the memory behind a file descriptor of :func:`shared_memory_file`, which it closes."""
        try:
            return cls(mmap.mmap(descriptor, CAPACITY))
        finally:
            os.close(descriptor)

    def cells(self, block: Block, size: int | None = None, *, owner: int = 0, measured: bool = False) -> Cells:
        """Return the cells of a block for the thread that calls this; the same ones each time, where they were left.

        Args:
            block: what they count.
            size: how many; ``None``: as many as it has values.
            owner: who counts in this thread: each owner has cells of its own.
            measured: return cells that are the same in all threads, which write them under a lock of theirs.
        """
        count = len(block.values) if size is None else size
        key = block.encoded(-1 if measured else self._writers.number(), owner, count)
        with self._lock:
            found = self._cells.get(key)
            if found is None:
                found = self._cells[key] = self._add(key, count)
        return found

    def _add(self, key: bytes, count: int) -> Cells:
        text_cells = -(-len(key) // 8)
        begin = int(self._whole[1])
        cells = begin + 1 + text_cells
        if cells + count > len(self._whole):
            if not self._full:
                self._full = True
                _log.error(
                    "there is no room for more metrics: those of further services are not counted",
                    extra=log_fields("metrics.full"),
                )
            alone = memoryview(bytearray(8 * count))
            return Cells(alone.cast("Q"), alone.cast("d"))
        self._memory[8 * (begin + 1) : 8 * cells] = key.ljust(8 * text_cells)
        self._whole[begin] = (text_cells << 32) | count
        with self._barrier:  # a processor may otherwise let others see the next line first
            pass
        self._whole[1] = cells + count  # from here on, readers see it
        return Cells(self._whole[cells : cells + count], self._real[cells : cells + count])

    def read(self) -> Iterator[tuple[Block, Sequence[Any]]]:
        """Return all blocks with the present values of their cells; it may be called in any thread and process."""
        if not self.usable:
            return
        with self._lock:
            self._look()
            known = list(self._known)
        for block, begin, end in known:
            yield block, (self._real if block.kind in _FLOATS else self._whole)[begin:end].tolist()

    def _look(self) -> None:
        """Read what blocks were added since the last time."""
        used = min(int(self._whole[1]), len(self._whole))
        at = self._known_to
        while at < used:
            text_cells, count = divmod(int(self._whole[at]), 2**32)
            begin = at + 1 + text_cells
            if (at := begin + count) > used:
                _log.error(
                    "the metrics of a process are damaged: what follows is left out",
                    extra=log_fields("metrics.damaged"),
                )
                self._known_to = used
                return
            try:
                block = Block.decoded(bytes(self._memory[8 * (begin - text_cells) : 8 * begin]))
            except (ValueError, TypeError) as error:
                _log.debug(
                    "a metric of a newer version is left out: %s",
                    error,
                    extra=log_fields("metrics.unknown", error=error),
                )
            else:
                self._known.append((block, begin, begin + count))
        self._known_to = at

    def close(self) -> None:
        """Let the memory go. Nothing may be counted or read in it any more."""
        self.usable = False
        self._cells.clear()
        self._known.clear()
        self._whole.release()
        self._real.release()
        if isinstance(self._memory, mmap.mmap):
            self._memory.close()


class _Writers:
    """Gives each thread a number that no other one has at the same time: numbers of threads that ended come again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._here = threading.local()
        self._free: list[int] = []
        self._next = 0

    def number(self) -> int:
        lease: _Lease | None = getattr(self._here, "lease", None)
        if lease is None:
            with self._lock:
                if self._free:
                    number = self._free.pop()
                else:
                    number, self._next = self._next, self._next + 1
            lease = self._here.lease = _Lease(number, self._free)
        return lease.number


class _Lease:
    """The number of one thread, which is returned when the thread has ended and drops this."""

    __slots__ = ("_free", "number")

    def __init__(self, number: int, free: list[int]) -> None:
        self.number, self._free = number, free

    def __del__(self) -> None:
        self._free.append(self.number)


def shared_memory_file() -> int:
    """Return a file descriptor of memory for a :class:`MetricStore`, to be given to another process.

    It has no name, so that nothing is left when those who have it are gone: anonymous memory on Linux, elsewhere a
    temporary file that is deleted already.

    Raises:
        OSError: there is none.
    """
    if sys.platform == "linux":
        descriptor = os.memfd_create("rabibridge-metrics", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, CAPACITY)
    return descriptor
