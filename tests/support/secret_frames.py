"""Looks for secrets in the variables of the frames that an error carries, as a report of the error would show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType


def secrets_in(error: BaseException, secret: str) -> list[str]:
    """Return the variables of the frames that an error carries which show a secret; those of tests do not count."""
    found: list[str] = []
    waiting: list[BaseException | None] = [error]
    seen: list[BaseException] = []
    while waiting:
        one = waiting.pop()
        if one is None or one in seen:
            continue
        seen.append(one)
        waiting += [one.__cause__, one.__context__]
        frame: TracebackType | None = one.__traceback__
        while frame is not None:
            variables = {} if "tests" in frame.tb_frame.f_code.co_filename else frame.tb_frame.f_locals
            found += [
                f"{frame.tb_frame.f_code.co_name}: {name}"
                for name, value in variables.items()
                if secret in repr(value) or secret in str(value)
            ]
            frame = frame.tb_next
    return found
