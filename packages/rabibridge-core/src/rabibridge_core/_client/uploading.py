"""Feeds one argument of a call from an iterator of the caller."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rabibridge_core._client.stream_run import StreamRun

__all__ = ["Uploading"]


class Uploading:
    argument: str
    error: BaseException | None
    begun: bool

    def attach(self, run: StreamRun) -> None: ...
    def close(self) -> None: ...
