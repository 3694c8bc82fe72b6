"""Lets the C library keep the memory of large bodies for the next ones.

glibc gives blocks of 128 KiB and more back to the system at once, and takes new pages for the next one: for bodies of
several MiB, that costs more than everything else that is done to them. A program that once frees a block of 32 MiB
changes this, by a rule of glibc: from then on blocks up to that size come from the heap, of which up to 64 MiB remain
when they are free, see "dynamic mmap threshold" in mallopt(3). So such a block is freed here. It is never written to,
so it takes address space, but no memory. Who has set the thresholds by environment variables keeps them.
"""

from __future__ import annotations

from typing import Final

__all__ = ["keep_blocks_of"]

_LARGE: Final = 64 * 1024
_BLOCK: Final = 32 * 1024 * 1024 - 128 * 1024  # with its header and rounded to pages it may have at most 32 MiB
_done = False


def keep_blocks_of(size: int) -> None:
    """Make glibc keep large blocks, if a body of that size is a large one: from 64 KiB on.

    Has no effect after the first time, and with other C libraries.
    """
    global _done
    if size >= _LARGE and not _done:
        _done = True
        try:
            bytes(_BLOCK)
        except MemoryError:  # the address space is limited: then large blocks go back at once, as before
            return
