"""The tables of docs/logging.md are what the source logs: every log call has an event, and no other fields than listed.

``python -m tests.docs.test_logging_page`` writes them.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from rabibridge_core._reporting.log_fields import FIELDS, PREFIX

_ROOT = Path(__file__).parents[2]
_PAGE = _ROOT / "docs" / "logging.md"
_TABLE = re.compile(r"(<!-- table: (\w+) -->\n)(.*?)(<!-- end of table -->)", re.DOTALL)
_LEVELS = {"debug", "info", "warning", "error", "exception", "log"}
_OWN_LIMITS = {
    "rabibridge_core._server.failure_log": "first of each kind, then a count every 5 s",
    "rabibridge_core.connection.connector": "first of each kind, then one a minute",
    "rabibridge_core._hosting.program": "one a minute",
    "rabibridge_core._server.caller_clocks": "once",
}


class LogCall(NamedTuple):
    """One place that logs."""

    place: str
    logger: str
    event: str
    level: str
    fields: tuple[str, ...]
    limit: str


@cache
def log_calls() -> list[LogCall]:
    """Return every place in the three distributions that logs."""
    found: list[LogCall] = []
    for path in sorted(_ROOT.glob("packages/*/src/**/*.py")):
        module = ".".join(
            path.relative_to(path.parents[len(path.parts) - path.parts.index("src") - 2]).with_suffix("").parts
        )
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                found += _of_function(function, module, path)
    return found


def _of_function(function: ast.FunctionDef | ast.AsyncFunctionDef, module: str, path: Path) -> list[LogCall]:
    nested = {
        id(node)
        for inner in ast.walk(function)
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef) and inner is not function
        for node in ast.walk(inner)
    }
    found = []
    for call in ast.walk(function):
        if id(call) in nested or not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
            continue
        receiver = ast.unparse(call.func.value)
        if receiver not in ("_log", "_limited", "self._log", "self._limited") or call.func.attr not in _LEVELS:
            continue
        if path.name == "limited_log.py":
            continue  # it logs what others give it
        place = f"{path.name}:{call.lineno}"
        limited = receiver.endswith("_limited")
        levels = _level(call, limited=limited)
        fields = _fields(call, function)
        assert fields is not None, f"{place} logs without extra=log_fields(...)"
        logger = "rabibridge.dashboard" if module == "rabibridge._dashboard.collector" else module
        limit = "first of each kind, then a count" if limited else _OWN_LIMITS.get(module, "")
        found.append(LogCall(place, logger, fields[0], levels, fields[1:], limit))
    return found


def _level(call: ast.Call, *, limited: bool) -> str:
    assert isinstance(call.func, ast.Attribute)
    if call.func.attr == "exception":
        return "ERROR"
    if call.func.attr != "log":
        return call.func.attr.upper()
    level = ast.unparse(call.args[1 if limited else 0])
    return " or ".join(sorted(set(re.findall(r"logging\.([A-Z]+)", level)), reverse=True)) or "see text"


def _fields(call: ast.Call, function: ast.AST) -> tuple[str, ...] | None:
    extra = next((word.value for word in call.keywords if word.arg == "extra"), None)
    if isinstance(extra, ast.Name):
        values = [
            node.value
            for node in ast.walk(function)
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == extra.id
        ]
        if not values and isinstance(function, ast.FunctionDef):
            return ("(given)",)  # an argument of a helper, which is checked where it is made
        extra = values[-1]
    if isinstance(extra, ast.Call) and ast.unparse(extra.func) == "log_fields":
        event = extra.args[0]
        name = event.value if isinstance(event, ast.Constant) else _pattern(event)
        return str(name), *(str(word.arg) for word in extra.keywords)
    return None


def _pattern(event: ast.expr) -> str:
    if isinstance(event, ast.JoinedStr):
        return "".join(str(one.value) if isinstance(one, ast.Constant) else "*" for one in event.values)
    return "call.*"  # of FailureLog, by the kind of failure


def _events() -> str:
    rows: dict[tuple[str, str], list[LogCall]] = {}
    for call in log_calls():
        if call.event != "(given)":
            rows.setdefault((call.event, call.logger), []).append(call)
    lines = ["| event | level | logger | further fields | limit |\n|---|---|---|---|---|\n"]
    for (event, logger), calls in sorted(rows.items()):
        levels = " or ".join(sorted({level for call in calls for level in call.level.split(" or ")}))
        fields = ", ".join(sorted({field for call in calls for field in call.fields})) or "-"
        limit = next((call.limit for call in calls if call.limit), "-")
        lines.append(f"| `{event}` | {levels} | `{logger}` | {fields} | {limit} |\n")
    return "".join(lines)


def _names() -> str:
    return "| field | holds |\n|---|---|\n" + "".join(
        f"| `{PREFIX}{name}` | {what} |\n" for name, what in FIELDS.items()
    )


def _filled(page: str) -> str:
    tables = {"fields": _names(), "events": _events()}
    return _TABLE.sub(lambda found: found[1] + tables[found[2]] + found[4], page)


def test_the_tables_list_everything_that_is_logged() -> None:
    page = _PAGE.read_text(encoding="utf-8")
    assert [name for _, name, _, _ in _TABLE.findall(page)] == ["fields", "events"]
    assert _filled(page) == page, "python -m tests.docs.test_logging_page writes the tables anew"


def test_every_log_call_has_an_event_and_known_fields() -> None:
    calls = log_calls()
    assert len(calls) > 150
    for call in calls:
        assert call.event == "(given)" or re.fullmatch(r"[a-z_]+\.[a-z_*]+", call.event), call
        assert set(call.fields) <= set(FIELDS), call
        assert call.logger.split(".")[0].startswith("rabibridge"), call


if __name__ == "__main__":
    _PAGE.write_text(_filled(_PAGE.read_text(encoding="utf-8")), encoding="utf-8")
