"""What the log of a serving process looks like."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any, Literal

from rabibridge_core._hosting.worker.link import current_link
from rabibridge_core._observability.call_log import CallLogFilter
from rabibridge_core._reporting.json_log import JsonLogFormatter
from rabibridge_core.errors import ConfigurationError

__all__ = ["LogFormat", "configure_logging", "set_log_level"]

LogFormat = Literal["text", "json"]
_OWN = ("rabibridge.", "rabibridge_core.", "rabibridge_redis.", "rabibridge_telemetry.")


def configure_logging(level: str, log_format: LogFormat, config: str | None, *, supervised: bool) -> None:
    """Log on standard error, or as a file of the standard library's module ``logging.config`` says.

    Args:
        level: the name of the level from which on it logs.
        log_format: lines of text, or of JSON.
        config: a file that says everything instead: with a dictionary for ``dictConfig`` (.json, .toml), or an INI file
            for ``fileConfig``.
        supervised: whether there is a supervisor: the lines say which process they come from.

    Raises:
        ConfigurationError: the file cannot be used.
    """
    if config is not None:
        _configure_from(Path(config))
        return
    link = current_link()
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(CallLogFilter())
    if log_format == "json":
        handler.setFormatter(JsonLogFormatter(None if link is None else link.number))
    else:
        who = "" if not supervised else " [supervisor]" if link is None else f" [worker {link.number}, %(process)d]"
        handler.setFormatter(_TextFormatter(who))
    logging.root.handlers[:] = [handler]
    set_log_level(level)


class _TextFormatter(logging.Formatter):
    """One line for a record; those that are written while a call runs name it, as ``[SERVICE ID]``."""

    def __init__(self, who: str) -> None:
        super().__init__(f"%(asctime)s %(levelname)s{who} %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - a method of the logging package
        """Return the line, without a traceback."""
        call_id = getattr(record, "rb_call_id", "")
        if call_id and not record.name.startswith(_OWN):  # our own lines name the call where it matters
            record.message = f"[{getattr(record, 'rb_service', '')} {call_id}] {record.message}"
        return super().formatMessage(record)


def set_log_level(name: str) -> None:
    """Change the level from which on the program logs."""
    level = logging.getLevelNamesMapping()[name.upper()]
    logging.getLogger().setLevel(level)
    logging.getLogger("aiormq").setLevel(max(level, logging.INFO))  # at DEBUG it logs complete messages


def _configure_from(path: Path) -> None:
    import json
    import logging.config
    import tomllib

    try:
        text = path.read_text(encoding="utf-8")  # fileConfig misreports a missing file
        if path.suffix in (".json", ".toml"):
            dictionary: dict[str, Any] = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
            dictionary.setdefault("version", 1)
            dictionary.setdefault("disable_existing_loggers", False)
            logging.config.dictConfig(dictionary)
        else:
            logging.config.fileConfig(path, disable_existing_loggers=False, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"log_config {path}: {error.strerror or error}") from None
    except KeyError as error:
        raise ConfigurationError(f"log_config {path}: {error} is missing") from None
    except Exception as error:  # noqa: BLE001 - the file may name any class, which may raise anything
        cause = f": {error.__cause__}" if error.__cause__ is not None else ""
        raise ConfigurationError(f"log_config {path}: {type(error).__name__}: {error}{cause}") from None
