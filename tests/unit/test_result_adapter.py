"""What restores the results of typed calls: by which annotation, from which names, and what does not fit."""

from __future__ import annotations

import datetime
import decimal
import enum
import subprocess
import sys
import typing
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

import pytest
from pydantic import BaseModel, BeforeValidator
from typing_extensions import TypedDict

from rabibridge_core._codec.annotations import ResultAdapter, result_adapter
from rabibridge_core.errors import RegistrationError, SerializationError

if TYPE_CHECKING:
    from pathlib import Path

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"


class Point(NamedTuple):
    x: int
    y: float


class Line(TypedDict):
    start: Point
    colour: Colour


@dataclass
class Item:
    price: decimal.Decimal
    due: datetime.date


class Order(BaseModel):
    items: list[Item]


def adapt(annotation: Any, value: object) -> object:
    """Return the value as a function with this annotation gives it."""
    adapter = result_adapter(annotation)
    assert adapter is not None
    return adapter(value)


@pytest.mark.parametrize(
    "annotation", [Any, object, T, typing.NoReturn, typing.Self], ids=["Any", "object", "T", "NoReturn", "Self"]
)
def test_no_adapter_where_every_result_fits(annotation: Any) -> None:
    assert result_adapter(annotation) is None


def test_no_adapter_without_annotation() -> None:
    def bare(value):  # type: ignore[no-untyped-def]
        return value

    assert result_adapter(bare) is None
    assert result_adapter(len) is None
    assert result_adapter(lambda: 1) is None


def test_plain_annotations_import_no_pydantic(tmp_path: Path) -> None:
    code = """
import sys
from typing import Any, Optional
from datetime import date
from rabibridge_core._codec.annotations import result_adapter
def bare(): ...
def anything() -> Any: ...
for annotation in (bare, anything):
    assert result_adapter(annotation) is None
plain = {None: None, int: 1, str: "a", float: 1.5, bool: True, bytes: b"b", list: [1], dict: {}, Optional[int]: None,
         int | str: "a", date: date(2024, 1, 1), set: {1}}
for annotation, value in plain.items():
    assert result_adapter(annotation)(value) is value
print("pydantic" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": ":".join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("False\n", "")


@pytest.mark.parametrize(
    ("annotation", "value", "restored"),
    [
        (float, 3, 3.0),
        (tuple, [1, 2], (1, 2)),
        (tuple[int, str], [1, "a"], (1, "a")),
        (Colour, "red", Colour.RED),
        (Point, [1, 2.5], Point(1, 2.5)),
        (Line, {"start": [1, 2.0], "colour": "red"}, {"start": Point(1, 2.0), "colour": Colour.RED}),
        (set[Colour], {"red"}, {Colour.RED}),
        (dict[int, Colour], {"1": "red"}, {1: Colour.RED}),
        (Literal["a", 1], 1, 1),
        (Item | None, None, None),
        (list[uuid.UUID], [uuid.UUID(int=1)], [uuid.UUID(int=1)]),
        (typing.LiteralString, "a", "a"),
    ],
    ids=str,
)
def test_values_are_restored(annotation: Any, value: object, restored: object) -> None:
    found = adapt(annotation, value)
    assert found == restored
    assert type(found) is type(restored)


def test_dataclasses_and_models_are_restored() -> None:
    item = {"price": decimal.Decimal("1.50"), "due": datetime.date(2024, 5, 1)}
    restored = Item(decimal.Decimal("1.50"), datetime.date(2024, 5, 1))
    assert adapt(Item, item) == restored
    assert adapt(Order, {"items": [item]}) == Order(items=[restored])


def test_the_error_names_the_place_and_not_the_data() -> None:
    def orders() -> list[Order]:
        raise NotImplementedError

    with pytest.raises(SerializationError) as caught:
        adapt(orders, [{"items": [{"price": "secret", "due": "2024-01-01"}]}])
    message = str(caught.value)
    assert "orders: the result does not fit its annotation: result[0].items[0].price: Input should be a " in message
    assert "secret" not in message
    with pytest.raises(SerializationError, match=r"result\[0\].items: Field required"):
        adapt(orders, [{}])
    with pytest.raises(SerializationError, match=r"^two: .*result.int: .*\(and 1 more\)"):
        ResultAdapter(int | list[int], "two")("a")
    with pytest.raises(SerializationError, match="result: Input should be None"):
        adapt(None, 1)


def test_a_validator_that_raises_is_an_error_of_the_result() -> None:
    def broken(value: object) -> object:
        raise KeyError("secret")

    with pytest.raises(SerializationError, match="KeyError") as caught:
        adapt(typing.Annotated[int, BeforeValidator(broken)], 1)
    assert "secret" not in str(caught.value)
    assert isinstance(caught.value.__cause__, KeyError)


def test_pydantic_wants_another_typed_dict_before_python_3_12() -> None:
    fields: Any = {"start": int}
    old = typing.TypedDict("old", fields)  # type: ignore[misc] # pyright: ignore
    if sys.version_info >= (3, 12):
        assert adapt(old, {"start": "1"}) == {"start": 1}
    else:
        with pytest.raises(RegistrationError, match=r"typing_extensions\.TypedDict"):
            result_adapter(old)


class Opaque: ...


@pytest.mark.parametrize("annotation", [Opaque, list[Opaque], "no such name"])
def test_an_annotation_that_cannot_be_used_is_an_error_at_once(annotation: Any) -> None:
    def opaque() -> None:
        raise NotImplementedError

    opaque.__annotations__ = {"return": annotation}
    with pytest.raises(RegistrationError, match="opaque"):
        result_adapter(opaque)
