"""The documented API exists with its names, argument names and defaults; type checkers see what is meant."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import rabibridge
from rabibridge import RMQBase, RMQClient, RMQServer, mq, register_call
from rabibridge._api.base import ConnectionOptions

_ROOT = Path(__file__).parents[2]
_SAMPLES = [str(path) for path in sorted(Path(__file__).parent.glob("*.py")) if not path.name.startswith("test_")]

_NONE = (None,) * 5
_CALL: dict[str, Any] = {"func_name": inspect.Parameter.empty, "args": (), "kwargs": {}, "ftype": "async"}
_CALL_OPTIONS: dict[str, Any] = {
    "timeout": None,
    "idempotent": False,
    "idempotency_key": None,
    "persistent": False,
    "inherit_deadline": True,
    "retry": None,
}
_DOCUMENTED: list[tuple[Any, dict[str, Any], dict[str, Any]]] = [
    # a callable, the arguments that may be positional, those that are by keyword alone
    (RMQBase.__init__, dict(zip(("loop", "host", "port", "username", "password"), _NONE, strict=True)), {}),
    (RMQClient.__init__, dict(zip(("loop", "host", "port", "username", "password"), _NONE, strict=True)), {}),
    (RMQServer.__init__, dict(zip(("loop", "host", "port", "username", "password"), _NONE, strict=True)), {}),
    (RMQBase.connect, {}, {}),
    (RMQBase.close, {}, {}),
    (RMQClient.connect, {}, {}),
    (RMQClient.close, {}, {}),
    (RMQClient.health, {}, {}),
    (RMQServer.connect, {}, {}),
    (RMQServer.close, {}, {}),
    (RMQClient.remote_call, _CALL, _CALL_OPTIONS),
    (RMQClient.try_remote_call, _CALL, _CALL_OPTIONS),
    (
        RMQServer.add_service,
        {
            "func_ptr": inspect.Parameter.empty,
            "queue_size": None,
            "fetch_size": None,
            "timeout": None,
            "re_register": False,
        },
        {"validate": False, "name": None},
    ),
    (RMQServer.load_plugins, {"plugin_dir": inspect.Parameter.empty}, {}),
    (RMQServer.load_services, {"symbols": inspect.Parameter.empty}, {}),
    (RMQServer.run_serve, {}, {"reload": False, "signals": True}),
    (
        register_call,
        {"queue_size": None, "fetch_size": None, "timeout": None},
        {"validate": False, "re_register": False, "name": None},
    ),
]
_EXTRA_KEYWORDS = ("url", "virtualhost", "ssl", "serializer", "transport", "name")


@pytest.mark.parametrize(
    ("function", "positional", "by_keyword"), _DOCUMENTED, ids=lambda value: getattr(value, "__qualname__", "")
)
def test_the_documented_arguments(function: Any, positional: dict[str, Any], by_keyword: dict[str, Any]) -> None:
    parameters = {name: one for name, one in inspect.signature(function).parameters.items() if name != "self"}
    kinds = inspect.Parameter
    found = {name: one.default for name, one in parameters.items() if one.kind is kinds.POSITIONAL_OR_KEYWORD}
    assert found == positional
    assert list(found) == list(positional)
    keywords = {name: one.default for name, one in parameters.items() if one.kind is kinds.KEYWORD_ONLY}
    assert by_keyword.items() <= keywords.items()
    assert all(default is not kinds.empty for default in keywords.values()), "what comes on top is optional"
    assert function.__doc__


@pytest.mark.parametrize("cls", [RMQBase, RMQClient, RMQServer])
def test_more_keywords_of_the_constructors(cls: type[RMQBase]) -> None:
    parameters = inspect.signature(cls.__init__).parameters
    keywords = {name for name, one in parameters.items() if one.kind is inspect.Parameter.KEYWORD_ONLY}
    if "connection" in parameters:  # **connection: Unpack[ConnectionOptions]
        keywords |= ConnectionOptions.__optional_keys__
    assert keywords.issuperset(_EXTRA_KEYWORDS)


def test_the_options_of_a_connection_are_the_arguments_of_the_base() -> None:
    parameters = inspect.signature(RMQBase.__init__).parameters
    keywords = {name for name, one in parameters.items() if one.kind is inspect.Parameter.KEYWORD_ONLY}
    assert keywords == ConnectionOptions.__optional_keys__


def test_the_documented_classes_and_modules() -> None:
    assert issubclass(RMQClient, RMQBase)
    assert issubclass(RMQServer, RMQBase)
    assert sorted(mq.__all__) == ["RMQBase", "RMQClient", "RMQServer"]
    for name in mq.__all__:
        assert getattr(mq, name) is getattr(rabibridge, name)
    assert isinstance(inspect.getattr_static(RMQClient, "correlation_id"), property)
    for cls in (RMQBase, RMQClient, RMQServer):
        assert hasattr(cls, "__aenter__")
        assert hasattr(cls, "__aexit__")
        assert cls.__doc__


@pytest.mark.parametrize(
    "function",
    [
        RMQBase.connect, RMQBase.close, RMQClient.connect, RMQClient.close, RMQClient.remote_call,
        RMQClient.try_remote_call, RMQServer.connect, RMQServer.close, RMQServer.run_serve,
    ],
    ids=lambda function: function.__qualname__,
)  # fmt: skip
def test_what_is_a_coroutine_function(function: Any) -> None:
    assert inspect.iscoroutinefunction(function)


@pytest.mark.skipif("TYPES_CHECKED" in os.environ, reason="make check has run both over all files, before the tests")
@pytest.mark.parametrize(
    "command",
    [
        ("mypy", "--no-error-summary", *_SAMPLES),
        ("pyright", "--pythonpath", sys.executable, *_SAMPLES),
    ],
    ids=lambda command: command[0],
)
def test_type_checkers_agree(command: tuple[str, ...]) -> None:
    pytest.importorskip(command[0])
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=_ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
