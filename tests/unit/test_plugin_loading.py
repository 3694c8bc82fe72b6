"""Plug-in files and targets of the command are loaded as Python loads packages.

The rule: a folder is a package in ``sys.modules``, and a file of it is one module, however it is imported. A file finds
the files of its own folder first; two folders share nothing, and no module of the process is replaced. What a file
defines can be pickled by name, and means what it would mean if it had been imported. A file that fails touches nobody
else: its old code stays.
"""

from __future__ import annotations

import importlib
import json
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from rabibridge_core._hosting.plugin_folder import PluginFolder
from rabibridge_core._reporting.module_names import stable_module_name, stable_type_name
from tests.unit.plugin_support import HEAD, imports_as_before, on_path, results, service, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _imports_as_before(tmp_path: Path) -> Iterator[None]:
    with imports_as_before(tmp_path):
        yield


def test_a_folder_is_a_package(tmp_path: Path) -> None:
    folder = PluginFolder(write(tmp_path / "plugins", orders=service("order", "return __name__, __package__")))
    ((name, package),) = results(folder).values()
    assert sys.modules[name].__file__ == str(tmp_path / "plugins" / "orders.py")
    assert list(sys.modules[package].__path__) == [str(tmp_path / "plugins")]
    assert sys.modules[package].orders is sys.modules[name]
    assert name == f"{package}.orders"
    assert stable_module_name(name) == "plugins.orders"
    assert str(tmp_path / "plugins") not in sys.path


def test_a_file_means_what_it_means_to_import(tmp_path: Path) -> None:
    text = service("kinds", "return kinds.__annotations__").replace("*args", "a: int = 0, b: 'float' = 0")
    (kinds,) = results(PluginFolder(write(tmp_path / "p", a=text))).values()
    assert kinds == {"a": int, "b": "float"}
    (kinds,) = results(PluginFolder(write(tmp_path / "q", a=f"from __future__ import annotations\n{text}"))).values()
    assert kinds == {"a": "int", "b": "'float'"}


@pytest.mark.parametrize(
    "statement",
    [
        "from ._table import NAMES",
        "from _table import NAMES",
        "import _table; NAMES = _table.NAMES",
        "import _table as t, json; NAMES = t.NAMES",
        "from . import _table; NAMES = _table.NAMES",
        "import importlib; NAMES = importlib.import_module('._table', __package__).NAMES",
        "from _lib.names import NAMES",
        "import _lib.names; NAMES = _lib.names.NAMES",
        "import _lib.names as names; NAMES = names.NAMES",
        "from ._lib.names import NAMES",
    ],
)
def test_helpers_of_its_own_folder_come_first(tmp_path: Path, statement: str) -> None:
    lib = {"_lib/__init__": "", "_lib/names": "from _table import NAMES"}
    folders = []
    for name in ("one", "two"):
        files = {"_table": f"NAMES = [{name!r}]", **lib, "a": service("a", "return NAMES", statement)}
        folders.append(PluginFolder(write(tmp_path / name, **files)))
    write(tmp_path / "path", _table="NAMES = ['of the process']")
    with on_path(tmp_path / "path"):
        assert [results(folder) for folder in folders] == [{"a": ["one"]}, {"a": ["two"]}]
    assert "_table" not in sys.modules


def test_an_import_within_a_function_finds_its_own_folder(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name, _table=f"NAME = {name!r}", a=service("a", "import _table; return _table.NAME"))
    one, two = PluginFolder(tmp_path / "one"), PluginFolder(tmp_path / "two")
    first, second = one.load() + two.load()
    assert (first.func_ptr(), second.func_ptr(), first.func_ptr()) == ("one", "two", "one")


def test_plugins_that_import_each_other_are_one_module_each(tmp_path: Path) -> None:
    cart = f"{service('put', 'ITEMS.append(1)')}ITEMS = []\n"
    write(tmp_path, cart=cart, total=service("count", "return len(ITEMS)", "from cart import ITEMS, put"))
    services = {schema.name: schema.func_ptr for schema in PluginFolder(tmp_path).load()}
    services["put"]()
    assert services["count"]() == 1
    assert len({schema.func_ptr for schema in PluginFolder(tmp_path).load()}) == 2


def test_no_module_of_the_process_is_replaced(tmp_path: Path) -> None:
    import queue

    write(
        tmp_path,
        queue=service("enqueue", "return Queue.__module__", "from queue import Queue"),
        json=service("dump", "return dumps([1])", "from json import dumps"),
        other=service("other", "return queue.__name__, loads('1')", "import queue\nfrom json import loads"),
        own=service("own", "return queue.enqueue()", "from . import queue"),
        _json="MINE = 1\n",
        mine=service("mine", "return MINE", "from _json import MINE"),
    )
    folder = PluginFolder(tmp_path)
    assert results(folder) == {
        "dump": "[1]", "enqueue": "queue", "mine": 1, "other": ("queue", 1), "own": "queue",
    }  # fmt: skip
    assert (sys.modules["json"], sys.modules["queue"]) == (json, queue)


def test_every_file_has_a_module_of_its_own(tmp_path: Path) -> None:
    names = ["a-b", "a_b", "a.b", "a%2Eb", "a b"]
    for number, name in enumerate(names):
        head = f"from __future__ import annotations\n{HEAD}Amount = int, {number}\n"
        (tmp_path / f"{name}.py").write_text(
            f"{head}@register_call\ndef f{number}():\n    return Amount[1], __name__\n"
        )
    found = list(results(PluginFolder(tmp_path)).values())
    assert sorted(number for number, _ in found) == [0, 1, 2, 3, 4]
    assert len({module for _, module in found}) == 5


def test_a_folder_that_can_be_imported_has_that_name(tmp_path: Path) -> None:
    plugins = write(
        tmp_path / "app" / "plugins",
        cart=f"{service('put', 'ITEMS.append(1)')}ITEMS = []\n",
        total=service("count", "return len(ITEMS)", "from app.plugins.cart import ITEMS"),
    )
    write(tmp_path / "app", **{"__init__": ""})
    with on_path(tmp_path):
        imported_before = importlib.import_module("app.plugins.cart")

        folder = PluginFolder(plugins)
        services = {schema.name: schema.func_ptr for schema in folder.load()}
        services["put"]()
        assert (services["count"](), imported_before.ITEMS) == (1, [1])
        assert services["count"].__module__ == "app.plugins.total"
        assert stable_module_name("app.plugins.total") == "plugins.total"
        (plugins / "cart.py").write_text(f"{service('put', 'return 2')}ITEMS = [1, 2, 3]\n")
        changed = {schema.name: schema.func_ptr() for schema in folder.update().services}
        assert changed == {"put": 2, "count": 3}
        assert sys.modules["app.plugins.cart"].ITEMS == [1, 2, 3]


@pytest.mark.parametrize("imported", ["before", "after"])
def test_a_folder_on_the_path_has_one_module_for_a_file(tmp_path: Path, imported: str) -> None:
    write(tmp_path, cart_of_test=service("put", imports="from ._items_of_test import ITEMS"), _items_of_test="ITEMS=[]")
    with on_path(tmp_path):
        if imported == "before":
            (tmp_path / "cart_of_test.py").write_text(service("put", imports="from _items_of_test import ITEMS"))
            importlib.import_module("cart_of_test")
        (schema,) = PluginFolder(tmp_path).load()
        cart_of_test = importlib.import_module("cart_of_test")
        items_of_test = importlib.import_module("_items_of_test")
        assert schema.func_ptr is cart_of_test.put
        assert cart_of_test.ITEMS is items_of_test.ITEMS


def test_what_a_plugin_defines_can_be_pickled(tmp_path: Path) -> None:
    text = f"import dataclasses\n{service('make', 'return Point(*args)')}"
    text += "@dataclasses.dataclass\nclass Point:\n    x: int = 0\n"
    (schema,) = PluginFolder(write(tmp_path, **{"geo-metry": text})).load()
    point = schema.func_ptr(7)
    assert pickle.loads(pickle.dumps(point)) == point
    assert pickle.loads(pickle.dumps(schema.func_ptr)) is schema.func_ptr
    assert stable_type_name(type(point)) == f"{tmp_path.name}.geo-metry.Point"


_POOL = """
import asyncio, multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from rabibridge_core._hosting.plugin_folder import PluginFolder

if __name__ == "__main__":
    (schema,) = PluginFolder(Path("plugins")).load()
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(sys.argv[1])) as pool:
        print(pool.submit(schema.func_ptr, 4).result())
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_process_pool_runs_what_a_plugin_defines(tmp_path: Path, method: str) -> None:
    write(tmp_path, main=_POOL, **{"plugins/double": service("double", "return args[0] * 2 + N", "from _n import N")})
    write(tmp_path / "plugins", _n="N = 100\n")
    if method == "spawn":  # the child imports it without the loader
        (tmp_path / "plugins" / "double.py").write_text(
            service("double", "return args[0] * 2 + N", "from ._n import N")
        )
    command = [sys.executable, "main.py", method]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=110, check=False)
    assert done.stdout.split() == ["108"], done.stderr


def test_hidden_files_are_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, a=service("a"))
    (tmp_path / ".hidden.py").write_text("1 / 0")
    (tmp_path / "._a.py").write_bytes(b"\0\5\26\7\0\2\0\0Mac OS X        \xff")
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "__init__.py").write_text("1 / 0")
    assert results(PluginFolder(tmp_path)) == {"a": 1}
    assert [record.getMessage() for record in caplog.records] == []


def test_a_package_is_one_plugin(tmp_path: Path) -> None:
    package = {
        "pack/__init__": service("packed", "return N, TABLE", "from .part import N\nfrom _table import TABLE"),
        "pack/part": "from _table import TABLE\nN = 1\n",
        "_table": "TABLE = 'orders'\n",
    }
    folder = PluginFolder(write(tmp_path, **package))
    assert results(folder) == {"packed": (1, "orders")}
    (tmp_path / "pack" / "part.py").write_text("N = 2\n")
    assert [schema.func_ptr() for schema in folder.update().services] == [(2, "orders")]
    (tmp_path / "pack" / "part.py").write_text("N = \n")
    assert folder.update().services == []
    assert results(folder) == {"packed": (2, "orders")}
    (tmp_path / "pack" / "__init__.py").unlink()
    assert folder.update().removed == ["packed"]


def test_a_folder_that_is_no_package_is_refused_by_a_log_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = PluginFolder(write(tmp_path, **{"sub/a": service("a")}))
    assert folder.load() == []
    folder.update()
    (record,) = caplog.records
    assert "sub is not loaded" in record.getMessage()
    assert "__init__.py" in record.getMessage()
