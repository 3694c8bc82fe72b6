"""Exceptions by which the serving side tells itself why a handler did not run. They never leave the worker."""

from __future__ import annotations

__all__ = ["ArgumentsRefusedError", "NotStartedError", "TooLateError"]


class ArgumentsRefusedError(Exception):
    """The arguments do not fit the handler, which did not run. ``__cause__`` says why."""


class TooLateError(Exception):
    """The deadline passed, or the call was cancelled, before the handler started. It did not run."""


class NotStartedError(Exception):
    """The handler could not be started. It did not run. ``__cause__`` says why."""
