"""Plug-ins that change or fail, and targets of the command: by the rule that test_plugin_loading.py states."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rabibridge_core._hosting.file_package import load_file
from rabibridge_core._hosting.plugin_folder import PluginFolder
from rabibridge_core._reporting.module_names import stable_module_name, stable_type_name
from tests.unit.plugin_support import imports_as_before, on_path, results, service, write

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _imports_as_before(tmp_path: Path) -> Iterator[None]:
    with imports_as_before(tmp_path):
        yield


def test_a_plugin_is_loaded_again_with_what_it_imports(tmp_path: Path) -> None:
    one = write(tmp_path, cart=service("put", "return N") + "N = 1\n", other=service("other"))
    write(one, total=service("count", "return N", "from cart import N"))
    folder = PluginFolder(tmp_path)
    assert results(folder) == {"put": 1, "count": 1, "other": 1}
    (tmp_path / "cart.py").write_text(service("put", "return N") + "N = 2\n")
    assert {schema.name: schema.func_ptr() for schema in folder.update().services} == {"put": 2, "count": 2}


def test_a_helper_that_fails_leaves_the_old_code(tmp_path: Path) -> None:
    write(tmp_path, _n="N = 1\n", a=service("a", "import _n; return N, _n.N", "from _n import N"))
    folder = PluginFolder(tmp_path)
    assert results(folder) == {"a": (1, 1)}
    (tmp_path / "_n.py").write_text("1 / 0")
    assert folder.update().services == []
    assert results(folder) == {"a": (1, 1)}
    assert "ZeroDivisionError" in folder.problems()[0]
    (tmp_path / "_n.py").write_text("N = 2\n")
    assert [schema.func_ptr() for schema in folder.update().services] == [(2, 2)]
    assert folder.problems() == []


def test_the_package_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "__init__.py").write_text("1 / 0")
    write(tmp_path, a=service("a", "return KEY, _n.N", "from . import KEY, _n"), b=service("b"), _n="N = 1\n")
    folder = PluginFolder(tmp_path)
    assert folder.load() == []
    (record,) = caplog.records  # not one for each plug-in
    assert "__init__.py" in record.getMessage()
    assert "__init__.py cannot be imported: ZeroDivisionError" in folder.problems()[0]
    (tmp_path / "__init__.py").write_text("KEY = 1\n")
    assert {schema.name: schema.func_ptr() for schema in folder.update().services} == {"a": (1, 1), "b": 1}
    (tmp_path / "__init__.py").write_text("KEY = \n")
    (tmp_path / "b.py").write_text(service("b", "return 2"))
    assert {schema.name: schema.func_ptr() for schema in folder.update().services}["b"] == 2
    assert len(folder.problems()) == 1
    assert results(folder) == {"a": (1, 1), "b": 2}
    (tmp_path / "__init__.py").write_text("KEY = 3\n")
    assert {schema.name: schema.func_ptr() for schema in folder.update().services}["a"] == (3, 1)
    assert folder.problems() == []


def test_a_file_that_comes_later_mends_the_one_that_imports_it(tmp_path: Path) -> None:
    write(tmp_path, a=service("a", "return N", "from b import N"))
    folder = PluginFolder(tmp_path)
    assert folder.load() == []
    assert "No module named 'b'" in folder.problems()[0]
    (tmp_path / "b.py").write_text("N = 5\n")
    assert [schema.func_ptr() for schema in folder.update().services] == [5]


@pytest.mark.parametrize(
    "broken",
    ["class Odd(BaseException): ...\nraise Odd('odd')\n", "raise GeneratorExit\n", "import sys; sys.exit(3)\n"],
)
def test_whatever_a_file_raises_touches_nobody_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    write(tmp_path, a=broken, b=service("b"))
    folder = PluginFolder(tmp_path)
    assert results(folder) == {"b": 1}
    assert "a.py" in caplog.text
    traceback = caplog.records[0].exc_text or ""
    assert "Traceback" in traceback
    assert "importlib" not in traceback  # the frames of the plug-in, and no others
    assert "file_package" not in traceback
    (problem,) = folder.problems()
    assert "a.py" in problem
    write(tmp_path, a=service("a"))
    assert [schema.name for schema in folder.update().services] == ["a"]
    assert folder.problems() == []


def test_an_interrupt_from_the_keyboard_is_passed_on_and_nothing_of_the_file_is_kept(tmp_path: Path) -> None:
    write(tmp_path, a="raise KeyboardInterrupt\n", b=service("b"))
    folder, before = PluginFolder(tmp_path), set(sys.modules)
    with pytest.raises(KeyboardInterrupt):
        folder.load()
    assert not [name for name in set(sys.modules) - before if name.endswith(".a")]
    write(tmp_path, a=service("a"))
    assert {schema.name for schema in folder.update().services} == {"a", "b"}
    assert folder.problems() == []


def test_the_folder_of_the_running_program(tmp_path: Path) -> None:
    program = (
        f"{service('own')}from rabibridge_core._hosting.plugin_folder import PluginFolder\n"
        "from pathlib import Path\nimport json, logging, sys\nlogging.basicConfig()\n"
        "print(json.dumps([one.name for one in PluginFolder(Path(__file__).parent).load()]))\n"
    )
    write(tmp_path, main=program, other=service("other"))
    done = subprocess.run([sys.executable, "main.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout) == ["other"]
    assert "it is the running program" in done.stderr


def test_a_target_is_loaded_under_its_import_name(tmp_path: Path) -> None:
    error = "class Odd(Exception): ...\n"
    write(tmp_path, **{"service": error, "a/tasks": "KIND = int\n" + error, "b/tasks": "KIND = str\n" + error})
    with on_path(tmp_path):
        modules = [load_file(tmp_path / name) for name in ("service.py", "a/tasks.py", "b/tasks.py")]
        assert [module.__name__ for module in modules] == ["service", "a.tasks", "b.tasks"]
        assert [module.KIND for module in modules[1:]] == [int, str]
        assert [load_file(Path(str(module.__file__))) for module in modules] == modules
    assert [stable_type_name(module.Odd) for module in modules] == ["service.Odd", "a.tasks.Odd", "b.tasks.Odd"]


def test_targets_outside_of_the_path_and_with_names_of_the_library(tmp_path: Path) -> None:
    import queue

    write(tmp_path / "one", tasks="from _table import NAME\n", _table="NAME = 1\n", queue="NAME = 'mine'\n")
    write(tmp_path / "two", tasks="from _table import NAME\n", _table="NAME = 2\nclass Odd(Exception): ...\n")
    with on_path(tmp_path / "one"):
        assert load_file(tmp_path / "one" / "queue.py").NAME == "mine"
    assert sys.modules["queue"] is queue
    one, two = (load_file(tmp_path / name / "tasks.py") for name in ("one", "two"))
    assert (one.NAME, two.NAME) == (1, 2)
    odd = sys.modules[two.__name__.replace("tasks", "_table")].Odd
    assert (stable_module_name(two.__name__), stable_type_name(odd)) == ("tasks", "_table.Odd")
