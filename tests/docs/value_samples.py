"""The values of the table in docs/values.md, and what arrives of each: it is tried, not written down."""

from __future__ import annotations

import datetime
import enum
import importlib.util
import typing
import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, NamedTuple

import pydantic
from typing_extensions import TypedDict

from rabibridge_core._codec.annotations import result_adapter
from rabibridge_core._codec.serializers import Serializer, registry
from rabibridge_core._server.executors import validator
from rabibridge_core._services.limits import ServiceLimits
from rabibridge_core._services.schema import ServiceSchema
from rabibridge_core.errors import SerializationError

UTC = datetime.UTC
EAST = datetime.timezone(datetime.timedelta(hours=2))


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Item:
    price: Decimal


class Point(NamedTuple):
    x: int
    y: int


class Movie(TypedDict):
    year: int


class Order(pydantic.BaseModel):
    item: Item


class Cat(pydantic.BaseModel):
    kind: Literal["cat"] = "cat"


class Dog(pydantic.BaseModel):
    kind: Literal["dog"] = "dog"


Animal = typing.Annotated[Cat | Dog, pydantic.Field(discriminator="kind")]

_DAY = datetime.date(2024, 5, 17)
_NOON = datetime.datetime(2024, 5, 17, 12)

# A value, its annotation, and how both are written in the table.
SAMPLES: list[tuple[Any, Any, str, str]] = [
    (1, int, "1", "int"),
    (2**70, int, "2**70", "int"),
    (1.5, float, "1.5", "float"),
    (1, float, "1", "float"),
    (1 + 2j, complex, "1+2j", "complex"),
    (True, bool, "True", "bool"),
    (None, None, "None", "None"),
    ("text", str, '"text"', "str"),
    (b"bytes", bytes, 'b"bytes"', "bytes"),
    (bytearray(b"b"), bytes, 'bytearray(b"b")', "bytes"),
    (memoryview(b"b"), bytes, 'memoryview(b"b")', "bytes"),
    (_NOON, datetime.datetime, "datetime(2024, 5, 17, 12)", "datetime"),
    (_NOON.replace(tzinfo=EAST), datetime.datetime, "the same, tzinfo=+02:00", "datetime"),
    (_DAY, datetime.date, "date(2024, 5, 17)", "date"),
    (datetime.time(12, 30), datetime.time, "time(12, 30)", "time"),
    (datetime.timedelta(days=1, seconds=1.5), datetime.timedelta, "timedelta(1, 1.5)", "timedelta"),
    (uuid.UUID(int=1), uuid.UUID, "UUID(int=1)", "UUID"),
    (Decimal("1.50"), Decimal, 'Decimal("1.50")', "Decimal"),
    ([1, 2], list[int], "[1, 2]", "list[int]"),
    ((1, 2), tuple[int, int], "(1, 2)", "tuple[int, int]"),
    ({1, 2}, set[int], "{1, 2}", "set[int]"),
    (frozenset({1}), frozenset[int], "frozenset({1})", "frozenset[int]"),
    ({(1, 2)}, set[tuple[int, int]], "{(1, 2)}", "set[tuple[int, int]]"),
    ({"a": 1}, dict[str, int], '{"a": 1}', "dict[str, int]"),
    ({1: "a"}, dict[int, str], '{1: "a"}', "dict[int, str]"),
    (Colour.RED, Colour, "Colour.RED", "Colour (Enum)"),
    (Item(Decimal(1)), Item, 'Item(Decimal("1"))', "Item (dataclass)"),
    (Point(1, 2), Point, "Point(1, 2)", "Point (NamedTuple)"),
    (Movie(year=1982), Movie, "Movie(year=1982)", "Movie (TypedDict)"),
    (Order(item=Item(Decimal(1))), Order, 'Order(item=Item(Decimal("1")))', "Order (pydantic)"),
    ({Point(1, 2)}, set[Point], "{Point(1, 2)}", "set[Point]"),
]
UNIONS: list[tuple[Any, Any, str, str]] = [
    (1, int | bool, "1", "int | bool"),
    (True, int | bool, "True", "int | bool"),
    ("1", str | int, '"1"', "str | int"),
    (1, str | int, "1", "str | int"),
    (_DAY, datetime.date | datetime.datetime, "date(2024, 5, 17)", "date | datetime"),
    (_NOON, datetime.date | datetime.datetime, "datetime(2024, 5, 17, 12)", "date | datetime"),
    (1.5, float | Decimal, "1.5", "float | Decimal"),
    (Decimal("1.5"), float | Decimal, 'Decimal("1.5")', "float | Decimal"),
    (b"a", bytes | str, 'b"a"', "bytes | str"),
    ("a", bytes | str, '"a"', "bytes | str"),
    ("a", str | uuid.UUID, '"a"', "str | UUID"),
    (uuid.UUID(int=1), str | uuid.UUID, "UUID(int=1)", "str | UUID"),
    ([1], list[int] | set[int] | tuple[int, ...], "[1]", "list[int] | set[int] | tuple[int, ...]"),
    ({1}, list[int] | set[int] | tuple[int, ...], "{1}", "list[int] | set[int] | tuple[int, ...]"),
    ((1,), list[int] | set[int] | tuple[int, ...], "(1,)", "list[int] | set[int] | tuple[int, ...]"),
    (1, Literal[1, "1"], "1", 'Literal[1, "1"]'),
    ("1", Literal[1, "1"], '"1"', 'Literal[1, "1"]'),
    (Colour.RED, Colour | None, "Colour.RED", "Colour | None"),
    (Colour.RED, Colour | str, "Colour.RED", "Colour | str"),
    (Cat(), Animal, "Cat()", "Cat | Dog, by kind"),
    (Dog(), Animal, "Dog()", "Cat | Dog, by kind"),
    (None, Item | None, "None", "Item | None"),
]


def numpy_samples() -> list[tuple[Any, Any, str, str]]:
    """Return the samples that need numpy; none where it is missing."""
    if importlib.util.find_spec("numpy") is None:
        return []
    numpy: Any = importlib.import_module("numpy")
    return [
        (numpy.arange(2.0), numpy.ndarray, "numpy.arange(2.0)", "ndarray"),
        (numpy.int64(1), int, "numpy.int64(1)", "int"),
    ]


def arrives(value: Any, name: str) -> Any:
    """Return what arrives of a value by one serializer, or the error that its sender gets."""
    serializer: Serializer = registry.get(name)
    try:
        return serializer.loads(serializer.dumps(value))
    except SerializationError as error:
        return error


def restored(value: Any, annotation: Any) -> Any:
    """Return what an annotation makes of a value, as a result and as an argument: the same."""

    def function(argument: Any) -> Any:
        raise NotImplementedError

    function.__annotations__ = {"argument": annotation, "return": annotation}
    adapter = result_adapter(function)
    result = value if adapter is None else adapter(value)
    (argument,), _ = validator(ServiceSchema.of(function, ServiceLimits(validate=True)))((value,), {})
    assert same(result, argument), (result, argument)
    return result


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are equal and of the same type, in all their parts."""
    return repr(one) == repr(other) and type(one) is type(other)


def shown(value: Any, sent: Any) -> str:
    """Return how a value that has arrived is shown in the table."""
    if isinstance(value, SerializationError):
        return "refused"
    return "as sent" if same(value, sent) else f"`{value!r}`".replace("datetime.", "").replace("|", r"\|")
