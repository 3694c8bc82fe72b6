"""What a server serves: functions that it is given, that a namespace holds, or that a folder of plug-ins brings."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import ConfigurationError, RegistrationError, RMQBase, RMQServer, register_call

if TYPE_CHECKING:
    from pathlib import Path


def test_load_services_takes_what_is_registered_and_nothing_else() -> None:
    @register_call(queue_size=3)
    async def registered() -> None: ...

    async def plain() -> None: ...

    from tests.rabbitmq.imported import imported

    server = RMQServer(url="amqp://guest:guest@127.0.0.1:1/")
    server.load_services(
        {
            "registered": registered,
            "again": registered,
            "plain": plain,
            "imported": imported,
            "number": 5,
            "cls": RMQBase,
        }
    )
    assert sorted(schema.name for schema in server.services) == ["imported", "registered"]
    server.load_services({"registered": registered})  # the same once more does no harm
    assert server.add_service(registered).queue_size == 3
    assert len(server.services) == 2
    with pytest.raises(RegistrationError, match="registered"):
        server.add_service(registered, queue_size=4)  # the same with other limits


def test_add_service_takes_what_is_left_out_from_the_decorator() -> None:
    @register_call(queue_size=3, fetch_size=2, timeout=1.5, validate=True, re_register=True)
    async def decorated() -> None: ...

    def added(func: Any = decorated, **limits: Any) -> tuple[Any, ...]:
        schema = RMQServer(url="amqp://guest:guest@127.0.0.1:1/").add_service(func, **limits)
        return schema.queue_size, schema.fetch_size, schema.timeout, schema.validate, schema.re_register

    async def plain() -> None: ...

    assert added() == (3, 2, 1.5, True, True)
    assert added(queue_size=0) == (0, 2, 1.5, True, True)
    assert added(fetch_size=7, timeout=9) == (3, 7, 9, True, True)
    assert added(plain) == (None, None, None, False, False)
    assert added(plain, timeout=2, validate=True) == (None, None, 2, True, False)


def test_two_functions_of_one_name() -> None:
    def make() -> Any:
        async def twice() -> None: ...

        return register_call(twice)

    server = RMQServer(url="amqp://guest:guest@127.0.0.1:1/")
    with pytest.raises(RegistrationError) as refused:
        server.load_services({"one": make(), "other": make()})
    assert str(refused.value).count(__file__) == 2  # both places are named


def test_plugins_from_a_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    head = "from rabibridge import register_call\n"
    (tmp_path / "good.py").write_text(
        head + "from _helper import N\n@register_call\ndef good() -> int:\n    return N\n"
    )
    (tmp_path / "_helper.py").write_text(head + "N = 7\n@register_call\ndef hidden(): ...\n")
    (tmp_path / "broken.py").write_text(head + "@register_call\ndef never(): ...\n1 / 0\n")
    (tmp_path / "misspelt.py").write_text("def f(:\n")
    (tmp_path / "notes.txt").write_text("not python")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "deep.py").write_text(head + "@register_call\ndef deep(): ...\n")
    server = RMQServer(url="amqp://guest:guest@127.0.0.1:1/")
    with caplog.at_level(logging.ERROR):
        server.load_plugins(str(tmp_path))
    (schema,) = server.services
    assert schema.name == "good"
    assert schema.func_ptr() == 7
    errors = [record.getMessage() for record in caplog.records]
    assert len(errors) == 2
    assert any("broken.py" in error for error in errors)
    assert any("misspelt.py" in error for error in errors)
    assert "ZeroDivisionError" in caplog.text


def test_a_plugin_folder_that_is_not_there(tmp_path: Path) -> None:
    server = RMQServer(url="amqp://guest:guest@127.0.0.1:1/")
    (tmp_path / "file.py").touch()
    for path in (tmp_path / "nowhere", tmp_path / "file.py"):
        with pytest.raises(ConfigurationError, match=path.name):
            server.load_plugins(path)
