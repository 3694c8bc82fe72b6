"""Reads a secret from a file of its own, as Docker and Kubernetes mount them."""

from __future__ import annotations

import os
from pathlib import Path

from rabibridge_core.errors import ConfigurationError
from rabibridge_core.settings.configuration_file import flaw_of_mode

__all__ = ["read_secret"]

_MAX_SIZE = 64 * 1024


def read_secret(name: object, source: str) -> str:
    """Return what a file holds, without the line break at its end.

    Args:
        name: the file; relative to the current folder.
        source: where its name was given, for the error message.

    Raises:
        ConfigurationError: the file cannot be read, may be written by others, or holds no text. The message never holds
            what is in it.
    """
    if not isinstance(name, str):
        raise ConfigurationError(f"{source} is not a text; write the name of the file in quotes")
    path = Path(name)
    content, problem = b"", ""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_SIZE + 1)
            problem = flaw_of_mode(path.stat())
    except (OSError, ValueError) as error:
        # Not path.is_dir(), which raises where a folder above may not be searched.
        problem = "is a folder" if os.path.isdir(path) else f"cannot be read: {getattr(error, 'strerror', error)}"
    if not problem and len(content) > _MAX_SIZE:
        problem = f"holds more than {_MAX_SIZE} bytes, so it is no secret"
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text, problem = "", problem or "is not UTF-8 text"
    text = text.removesuffix("\n").removesuffix("\r")
    if not problem and not text.strip():
        problem = "is empty"
    if problem:
        raise ConfigurationError(f"the file {name!r}, which {source} names, {problem}")
    return text
