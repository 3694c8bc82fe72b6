"""Each way to write an annotation, in each place that has one: the type is found, or registering says what is not.

Modules are made of text, since the text of a module decides whether annotations are evaluated at once, later
or never, and whether their names exist then. Nothing may be found out only at the first call.
"""

from __future__ import annotations

import importlib.util
import itertools
import sys
from contextlib import asynccontextmanager
from textwrap import indent
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from rabibridge_core import RegistrationError, register_call
from tests.support.waiting import PATIENCE
from tests.unit.provider_support import served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from types import ModuleType

_FUTURE = "from __future__ import annotations\n"
_IMPORTS = """
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Protocol
from rabibridge_core import Depends, register_call, service
from tests.unit.annotated_elsewhere import logged_items, logged_task
seen = []
"""
_ITEM = """
@dataclass
class Item:
    value: int
"""
_CHECKED = """
if TYPE_CHECKING:
    from somewhere import Item
"""


class Way(NamedTuple):
    """How a module writes its annotations.

    Attributes:
        begin: the text before its functions.
        name: what the annotations say.
        local: whether everything but the imports is in a function that has returned.
        found: whether the type can be found.
        decorated: whether decorators of another module wrap the functions.
    """

    begin: str
    name: str = "Item"
    local: bool = False
    found: bool = True
    decorated: bool = False


WAYS = {
    "evaluated": Way(_IMPORTS + _ITEM),
    "never evaluated": Way(_FUTURE + _IMPORTS + _ITEM),
    "in quotes": Way(_IMPORTS + _ITEM, "'Item'"),
    "for type checkers": Way(_FUTURE + _IMPORTS + _CHECKED, found=False),
    "in quotes for type checkers": Way(_IMPORTS + _CHECKED, "'Item'", found=False),
    "evaluated in a function": Way(_IMPORTS + _ITEM, local=True),
    "never evaluated in a function": Way(_FUTURE + _IMPORTS + _ITEM, local=True, found=False),
    "decorated elsewhere": Way(_FUTURE + _IMPORTS + _ITEM, decorated=True),
}
PLACES = {
    "argument": """
@register_call(validate=True)
@logged_task
async def take(item: {name}):
    seen.append(item)
""",
    "generator": """
@register_call(validate=True)
@logged_items
async def take(item: {name}) -> AsyncIterator[Any]:
    seen.append(item)
    yield None
""",
    "method": """
class Shop:
    @register_call(name="take", validate=True)
    @logged_task
    async def take(self, item: {name}):
        seen.append(item)
take = Shop().take
""",
    "provided": """
async def provide():
    return {value}
@register_call
@logged_task
async def take(number, item: Annotated[{name}, Depends(provide)]):
    seen.append(item)
""",
    "stub": """
@logged_task
async def take(item: Any) -> {name}:
    raise NotImplementedError
""",
    "protocol": """
class Shop(Protocol):
    @logged_task
    async def take(self, item: Any) -> {name}: ...
""",
}


def _text(place: str, way: Way) -> str:
    body = PLACES[place].format(name=way.name, value="Item(1)" if way.found else "None")
    if not way.decorated:
        body = body.replace("@logged_task", "").replace("@logged_items", "")
    if not way.local:
        return way.begin + body
    imports, _, item = way.begin.partition("@dataclass")
    inside = indent(f"@dataclass{item}{body}", "    ")
    gives = "Shop" if place == "protocol" else "take"
    return f"{imports}\ndef make():\n{inside}\n    return {gives}\n\n{gives} = make()\n"


@pytest.fixture
def module(place: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of a cell of the matrix."""
    file = tmp_path / "written.py"
    file.write_text(_text(place, WAYS[way]), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("written", file)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "written", made)
    spec.loader.exec_module(made)
    return made


@asynccontextmanager
async def _registered(place: str, module: Any) -> AsyncIterator[Any]:
    """Register what the module has; yield what calls it."""

    @register_call(name="take" if place == "stub" else "shop.take")
    async def echo(item: Any) -> Any:
        return item

    async with served(echo if place in ("stub", "protocol") else module.take) as (_, client):
        yield _caller(place, module, client.options(timeout=PATIENCE))


def _caller(place: str, module: Any, client: Any) -> Any:
    if place == "stub":
        return client.stub(module.take)
    return client.service(module.Shop, name="shop").take if place == "protocol" else client


async def _typed(place: str, module: Any, caller: Any) -> Any:
    """Call it; return the value that has the type of the annotation."""
    match place:
        case "stub" | "protocol":
            return await caller({"value": 1})
        case "generator":
            assert [item async for item in caller.stream("take", {"value": 1})] == [None]
        case _:
            await caller.call("take", {"value": 1})
    return module.seen[0]


@pytest.mark.parametrize(("place", "way"), list(itertools.product(PLACES, WAYS)))
async def test_a_type_is_found_or_registering_says_what_is_not(place: str, way: str, module: ModuleType) -> None:
    if WAYS[way].found:
        async with _registered(place, module) as caller:
            value = await _typed(place, module, caller)
        assert (type(value).__name__, value.value) == ("Item", 1)
        return
    what = "the result" if place in ("stub", "protocol") else "the argument 'item'"
    with pytest.raises(RegistrationError, match=rf"take \(.*written\.py:\d+\): .*{what} names 'Item'"):
        async with _registered(place, module):
            pytest.fail("it was registered")
