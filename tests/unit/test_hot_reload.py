"""A folder of plug-ins: what an update finds, and what it leaves behind."""

from __future__ import annotations

import gc
import logging
import os
import sys
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rabibridge_core._hosting.plugin_folder import PluginFolder
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEAD = "from rabibridge import register_call\n"


def _service(name: str, result: object = None) -> str:
    return f"{_HEAD}@register_call\ndef {name}():\n    return {result!r}\n"


@pytest.fixture(autouse=True)
def _imports_as_before() -> Iterator[None]:
    modules, path = dict(sys.modules), list(sys.path)
    yield
    for name in sys.modules.keys() - modules.keys():
        if "rabibridge_plugins_" in name:
            del sys.modules[name]
    sys.path[:] = path


def test_nothing_changes(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(_service("a"))
    folder = PluginFolder(tmp_path)
    (schema,) = folder.load()
    assert schema.name == "a"
    changes = folder.update()
    assert (changes.removed, changes.services) == ([], [])
    assert folder.load() == [schema]


def test_changed_added_and_removed(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(_service("a", 1) + _service("b", 1))
    folder = PluginFolder(tmp_path)
    folder.load()
    (tmp_path / "a.py").write_text(_service("a", 2))
    (tmp_path / "c.py").write_text(_service("c", 3))
    changes = folder.update()
    assert changes.removed == ["b"]
    assert {schema.name: schema.func_ptr() for schema in changes.services} == {"a": 2, "c": 3}
    (tmp_path / "a.py").unlink()
    changes = folder.update()
    assert (changes.removed, changes.services) == (["a"], [])


def test_a_function_that_moves_to_another_file(tmp_path: Path) -> None:
    (tmp_path / "z.py").write_text(_service("moving", 1))
    (tmp_path / "a.py").write_text("")
    folder = PluginFolder(tmp_path)
    folder.load()
    (tmp_path / "z.py").write_text("")
    (tmp_path / "a.py").write_text(_service("moving", 2))
    changes = folder.update()
    assert [schema.func_ptr() for schema in changes.services] == [2]


def test_a_file_that_is_renamed(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(_service("kept", 1))
    folder = PluginFolder(tmp_path)
    folder.load()
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    changes = folder.update()
    assert [(schema.name, schema.func_ptr()) for schema in changes.services] == [("kept", 1)]
    assert [schema.name for schema in folder.load()] == ["kept"]


@pytest.mark.parametrize("broken", ["def f(:\n", "1 / 0\n", "raise SystemExit(3)\n", "\0", b"\xff\xfe\xff"], ids=repr)
def test_a_file_that_cannot_be_imported(tmp_path: Path, caplog: pytest.LogCaptureFixture, broken: str | bytes) -> None:
    file = tmp_path / "a.py"
    file.write_text(_service("a", 1))
    folder = PluginFolder(tmp_path)
    (schema,) = folder.load()
    module = sys.modules[schema.func_ptr.__module__]
    file.write_bytes(broken if isinstance(broken, bytes) else broken.encode())
    (tmp_path / "b.py").write_text(_service("b"))
    changes = folder.update()
    assert ([one.name for one in changes.services], changes.removed) == (["b"], [])
    assert [one.name for one in folder.load()] == ["a", "b"]
    assert sys.modules[schema.func_ptr.__module__] is module
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "a.py" in record.getMessage()
    assert record.exc_info
    file.write_text(_service("a", 2))
    assert [one.func_ptr() for one in folder.update().services] == [2]


def test_two_edits_within_one_second(tmp_path: Path) -> None:
    folder = PluginFolder(tmp_path)
    for number in range(10):  # same size, and perhaps the same time: only the content tells them apart
        (tmp_path / "a.py").write_text(_service("a", number))
        assert [schema.func_ptr() for schema in folder.update().services] == [number]


def test_underscored_files_are_helpers(tmp_path: Path) -> None:
    (tmp_path / "_shared_of_reload.py").write_text(_service("hidden") + "N = 1\n")
    (tmp_path / "a.py").write_text("from _shared_of_reload import N\n" + _HEAD + "@register_call\ndef a(): return N\n")
    folder = PluginFolder(tmp_path)
    assert [(schema.name, schema.func_ptr()) for schema in folder.load()] == [("a", 1)]
    (tmp_path / "_shared_of_reload.py").write_text("N = 2\n")
    assert [schema.func_ptr() for schema in folder.update().services] == [2]


def test_what_a_file_imports_from_another_is_offered_once(tmp_path: Path) -> None:
    (tmp_path / "_base_of_reload.py").write_text(_service("shared", 1))
    for name in "ab":
        (tmp_path / f"{name}.py").write_text("from _base_of_reload import shared\n")
    services = PluginFolder(tmp_path).load()
    assert {schema.name for schema in services} == {"shared"}
    assert len({schema.func_ptr for schema in services}) == 1


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nowhere"):
        PluginFolder(tmp_path / "nowhere")


def test_reloading_leaves_no_module_behind(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(_service("a"))
    folder = PluginFolder(tmp_path)
    folder.load()
    modules, path = len(sys.modules), list(sys.path)
    functions = []
    for number in range(200):
        (tmp_path / "a.py").write_text(_service("a", number))
        (schema,) = folder.update().services
        functions.append(weakref.ref(schema.func_ptr))
        del schema
    gc.collect()
    assert len(sys.modules) == modules
    assert sys.path == path
    assert [alive() is not None for alive in functions] == [False] * 199 + [True]


def _clashes(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "is ignored" in record.getMessage()]


def test_a_clash_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in "ab":
        (tmp_path / f"{name}.py").write_text(_service("twice", name))
    folder = PluginFolder(tmp_path)
    folder.load()
    for number in range(5):
        (tmp_path / "other.py").write_text(_service("other", number))
        assert [schema.name for schema in folder.update().services] == ["other"]
    (clash,) = _clashes(caplog)
    assert "a.py" in clash
    assert "b.py" in clash
    (tmp_path / "c.py").write_text(_service("twice", "c"))
    folder.update()
    assert len(_clashes(caplog)) == 2
    assert "c.py" in _clashes(caplog)[1]
    (tmp_path / "b.py").unlink()
    folder.update()
    (tmp_path / "b.py").write_text(_service("twice", "again"))
    folder.update()
    assert len(_clashes(caplog)) == 3


def test_one_function_in_two_files_is_no_clash(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "_base_of_two.py").write_text(_service("shared", 1))
    for name in "ab":
        (tmp_path / f"{name}.py").write_text("from _base_of_two import shared\n")
    folder = PluginFolder(tmp_path)
    folder.load()
    folder.update()
    assert _clashes(caplog) == []


def test_two_of_one_name_in_one_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.py").write_text(_service("twice", 1) + "first = twice\n" + _service("twice", 2))
    folder = PluginFolder(tmp_path)
    folder.load()
    (tmp_path / "b.py").write_text("")
    changes = folder.update()
    assert (changes.removed, changes.services) == ([], [])
    assert len(_clashes(caplog)) == 1


def test_what_has_not_changed_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    really = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        read.append(path.name)
        return really(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    for name in ("a.py", "_helper.py"):
        (tmp_path / name).write_text(_service("a"))
        os.utime(tmp_path / name, (1e9, 1e9))
    folder = PluginFolder(tmp_path)
    folder.load()
    assert read == ["_helper.py", "a.py"]
    for _ in range(3):
        assert folder.update().services == []
    assert len(read) == 2
    os.utime(tmp_path / "a.py", (2e9, 2e9))
    assert folder.update().services == []  # it was touched, no more
    assert len(read) == 4


def test_a_file_that_is_put_in_the_place_of_another(tmp_path: Path) -> None:
    folder = PluginFolder(tmp_path)
    for number in range(3):  # of the same size and time, as when a deployment keeps times
        new = tmp_path / "new"
        new.write_text(_service("a", number))
        os.utime(new, (1e9, 1e9))
        new.replace(tmp_path / "a.py")
        assert [schema.func_ptr() for schema in folder.update().services] == [number]
