"""A module has one name for other processes, however the worker that has it was started."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from rabibridge_core._reporting.module_names import name_package, stable_module_name, stable_type_name

if TYPE_CHECKING:
    from pathlib import Path

_PROGRAM = (
    "from rabibridge_core._reporting.module_names import stable_type_name\n"
    "class OutOfStock(Exception): ...\n"
    "print(OutOfStock.__module__, stable_type_name(OutOfStock))\n"
)


def _output(folder: Path, *arguments: str) -> list[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=True).stdout.split()


def test_a_module_that_was_imported_keeps_its_name() -> None:
    assert stable_type_name(ValueError) == "builtins.ValueError"
    assert stable_module_name("app.services") == "app.services"


def test_the_program_has_the_name_of_its_file_or_module(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "service.py").write_text(_PROGRAM)
    (tmp_path / "app" / "service.py").write_text(_PROGRAM)
    assert _output(tmp_path, "service.py") == ["__main__", "service.OutOfStock"]
    assert _output(tmp_path, "-m", "service") == ["__main__", "service.OutOfStock"]
    assert _output(tmp_path, "-m", "app.service") == ["__main__", "app.service.OutOfStock"]
    assert _output(tmp_path, "-c", "import service") == ["service", "service.OutOfStock"]
    assert _output(tmp_path, "-c", _PROGRAM) == ["__main__", "__main__.OutOfStock"]


def test_a_package_that_a_loader_has_named() -> None:
    name_package("rabibridge_named_by_a_test", "plugins")
    name_package("rabibridge_not_named_by_a_test", "")
    assert stable_module_name("rabibridge_named_by_a_test") == "plugins"
    assert stable_module_name("rabibridge_named_by_a_test.orders") == "plugins.orders"
    assert stable_module_name("rabibridge_named_by_a_test.orders.lines") == "plugins.orders.lines"
    assert stable_module_name("rabibridge_named_by_a_testament.orders") == "rabibridge_named_by_a_testament.orders"
    assert stable_module_name("rabibridge_not_named_by_a_test.service") == "service"
