"""Classes of declared errors: fields, codes, texts, equality, pickling, and what is refused where they are declared."""

from __future__ import annotations

import copy
import gc
import importlib
import importlib.util
import pickle
import sys
import textwrap
from dataclasses import field
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import CallError, RegistrationError, RemoteExecutionError, ServiceError, register_call
from rabibridge_core.errors._declared import declared_class, hints_of

if TYPE_CHECKING:
    from decimal import Decimal  # a name that exists for type checkers only
    from pathlib import Path


class OutOfStock(ServiceError, code="tests.out_of_stock"):
    sku: str
    left: int = 0


class ShopError(ServiceError):
    shop: str


class Closed(ShopError, code="tests.closed"):
    days: list[str] = field(default_factory=list)


class Told(ServiceError, code="tests.told", kw_only=True):
    secret: str = field(default="", repr=False)
    message: str = ""


def test_fields_are_given_as_in_a_dataclass() -> None:
    error = OutOfStock("A-17", left=2)
    assert (error.sku, error.left) == ("A-17", 2)
    assert error.fields == {"sku": "A-17", "left": 2}
    assert error.code == OutOfStock.code == "tests.out_of_stock"
    assert OutOfStock(sku="A-17").left == 0
    assert Closed("north").fields == {"shop": "north", "days": []}
    with pytest.raises(TypeError, match="sku"):
        OutOfStock()  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    with pytest.raises(TypeError, match="size"):
        OutOfStock("A-17", size=3)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


def test_what_it_is_besides() -> None:
    assert issubclass(Closed, ShopError)
    assert issubclass(ShopError, ServiceError)
    assert issubclass(ServiceError, RemoteExecutionError)
    error: CallError = OutOfStock("A-17")
    assert error.executed is True
    assert (error.func_name, error.correlation_id) == ("", "")
    assert ServiceError.__module__ == "rabibridge_core.errors"


def test_texts() -> None:
    assert str(OutOfStock("A-17")) == "tests.out_of_stock: sku='A-17', left=0"
    assert repr(OutOfStock("A-17")) == "OutOfStock(sku='A-17', left=0)"
    assert str(Told(secret="x")) == "tests.told: message=''"
    assert str(Told(secret="x", message="try later")) == "try later"
    assert "x" not in repr(Told(secret="x"))


def test_equality() -> None:
    assert OutOfStock("A-17") == OutOfStock(sku="A-17", left=0)
    assert OutOfStock("A-17") != OutOfStock("A-18")
    assert OutOfStock("A-17") != Closed("A-17")
    assert OutOfStock("A-17") != RemoteExecutionError("A-17")
    assert len({OutOfStock("A-17"), OutOfStock("A-17"), Closed("north", ["Sunday"])}) == 2


def test_it_survives_pickling_and_copying() -> None:
    error = Closed("north", days=["Sunday"])
    error.__dict__.update(func_name="buy", correlation_id="17", remote_traceback="Traceback ...")
    error.add_note("On the worker: ...")
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(error, protocol))
        assert type(again) is Closed
        assert again == error
        assert vars(again) == vars(error)
    assert vars(copy.copy(error)) == vars(error)
    deep = copy.deepcopy(error)
    assert vars(deep) == vars(error)
    assert deep.days is not error.days
    unknown = RemoteExecutionError("text", code="else", fields={"a": 1})
    assert vars(pickle.loads(pickle.dumps(unknown))) == vars(unknown)
    assert (RemoteExecutionError("text").code, RemoteExecutionError("text").fields) == (None, {})


def test_a_class_without_a_code_is_a_base() -> None:
    assert (ShopError.code, ServiceError.code) == ("", "")
    for cls in (ShopError, ServiceError):
        with pytest.raises(TypeError, match="has no code"):
            cls("north")

    class Special(OutOfStock):
        pass

    assert Special.code == ""


@pytest.mark.parametrize("code", ["", "a b", "ä", "a" * 101, "a\n", 17])
def test_codes_that_are_refused(code: Any) -> None:
    with pytest.raises(RegistrationError, match="its code is"):
        type("Wrong", (ServiceError,), {}, code=code)


@pytest.mark.parametrize("name", ["code", "args", "fields", "func_name", "executed", "add_note", "error_type"])
def test_fields_that_are_refused(name: str) -> None:
    with pytest.raises(RegistrationError, match=f"field '{name}' has the name of an attribute"):
        type("Wrong", (ServiceError,), {"__annotations__": {name: str}}, code="tests.wrong")
    assert declared_class("tests.wrong") is None


def test_two_classes_with_one_code_are_refused_where_the_second_is_declared() -> None:
    with pytest.raises(RegistrationError, match=r"OutOfStock \(.*Other \(") as refusal:

        class Other(ServiceError, code="tests.out_of_stock"):
            pass

    assert "two classes have the code 'tests.out_of_stock'" in str(refusal.value)
    assert declared_class("tests.out_of_stock") is OutOfStock


def test_a_code_is_free_when_its_class_is_gone() -> None:
    def declare(name: str) -> type[ServiceError]:
        return type(name, (ServiceError,), {"__qualname__": f"f.<locals>.{name}"}, code="tests.passing")

    gc.disable()
    try:
        declare("One")
        assert declared_class("tests.passing") is not None  # it is part of cycles
        two = declare("Two")
        assert declared_class("tests.passing") is two
    finally:
        gc.enable()


def _module(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.py").write_text("from rabibridge import ServiceError\n" + textwrap.dedent(text))
    importlib.invalidate_caches()
    sys.modules.pop(name, None)


def test_a_module_that_is_loaded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    one = "class {}(ServiceError, code='tests.reloaded'):\n    size: int = {}\n"
    _module(tmp_path, "shop_errors", one.format("TooLarge", 1))
    first = importlib.import_module("shop_errors")
    again = importlib.reload(first)
    assert declared_class("tests.reloaded") is again.TooLarge
    old: Any = again.TooLarge
    _module(tmp_path, "shop_errors", one.format("TooBig", 200))  # a file that was changed, as by a hot reload
    renamed = importlib.import_module("shop_errors")
    assert declared_class("tests.reloaded") is renamed.TooBig
    assert old().size == 1  # what still runs can raise the old one
    _module(tmp_path, "other_errors", one.format("TooBig", 3))
    with pytest.raises(RegistrationError, match=r"shop_errors.*other_errors"):
        importlib.import_module("other_errors")
    for name in ("shop_errors", "other_errors"):
        sys.modules.pop(name, None)


def test_a_file_that_is_imported_under_two_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    _module(tmp_path, "program", "class Named(ServiceError, code='tests.two_names'):\n    pass\n")
    one = importlib.import_module("program")
    spec = importlib.util.spec_from_file_location("__mp_main__", tmp_path / "program.py")
    assert spec is not None
    assert spec.loader is not None
    two = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "__mp_main__", two)
    spec.loader.exec_module(two)
    assert declared_class("tests.two_names") is two.Named is not one.Named
    sys.modules.pop("program")


def test_annotations_that_name_local_classes() -> None:
    class Size(int):
        pass

    class Sized(ServiceError, code="tests.sized"):
        size: Size

    assert hints_of(Sized)["size"] is Size


def test_annotations_that_cannot_be_used_are_an_error_at_registration() -> None:
    class Priced(ServiceError, code="tests.priced"):
        price: Decimal

    class Odd(ServiceError, code="tests.odd"):
        lock: type(gc.collect)  # type: ignore[valid-type]

    with pytest.raises(RegistrationError, match=r"Priced \(.*names 'Decimal', which is not found"):
        register_call(name="buy", raises=(Priced,))(lambda: None)
    with pytest.raises(RegistrationError, match=r"Odd \(.*field 'lock'"):
        register_call(name="buy", raises=(Odd,))(lambda: None)


@pytest.mark.parametrize("raises", [OutOfStock, (ShopError,), (KeyError,), ("tests.told",), None, (OutOfStock("A"),)])
def test_what_cannot_be_listed(raises: Any) -> None:
    with pytest.raises(RegistrationError, match=r"raises is .*; it must be a tuple of subclasses of ServiceError"):
        register_call(name="buy", raises=raises)(lambda: None)
