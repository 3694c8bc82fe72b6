"""Gives the things in a generated module names that are identifiers and mean one thing everywhere in it.

A parameter, field or service may be called ``int``, ``list`` or ``Any``. Where one is, the module writes the type as
``builtins.int``, or imports it by another name.
"""

from __future__ import annotations

import builtins
import keyword
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Names", "class_name", "identifier", "is_usable"]

_TAKEN = frozenset({"self", "cls", "mro", "True", "False", "None", "__debug__"})
_INSTALLED = ("rabibridge_core", "typing_extensions")
_IDENTIFIER_MAX = 200


def is_usable(name: str) -> bool:
    """Tell whether a parameter or field can have this name as it is: ASCII, no keyword, no name of Python's own."""
    return name.isidentifier() and name.isascii() and not keyword.iskeyword(name) and not name.startswith("__")


def identifier(text: str) -> str:
    """Return an identifier that resembles a text."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", text)[:_IDENTIFIER_MAX] or "_"
    if name[0].isdigit() or name.startswith("__"):
        name = f"n{name}" if name[0].isdigit() else name.lstrip("_") or "n"
        name = f"n{name}" if name[0].isdigit() else name
    return f"{name}_" if keyword.iskeyword(name) or name in _TAKEN else name


def class_name(text: str) -> str:
    """Return the name of a class that resembles a text: ``Page_int`` and ``page.int`` give ``PageInt``."""
    parts = re.split(r"[^A-Za-z0-9]+", text)
    return identifier("".join(part[:1].upper() + part[1:] for part in parts if part) or "Model")


class Names:
    """The names of one module, and its imports."""

    def __init__(self, inner: Iterable[str]) -> None:
        """Begin with the names that are given inside of classes and functions, which no import may be hidden by."""
        self._inner = set(inner)
        self._taken: set[str] = set()
        self._imports: dict[str, set[str]] = {}
        self._known: dict[tuple[str, str], str] = {}

    def new(self, wanted: str) -> str:
        """Return a name at the top of the module, that is like ``wanted`` and means nothing else."""
        name, number = wanted, 2
        while name in self._taken or name in self._inner or keyword.iskeyword(name):
            name, number = f"{wanted}_{number}" if number > 2 else f"{wanted}_", number + 1
        self._taken.add(name)
        return name

    def take(self, wanted: str) -> str:
        """Return a name at the top of the module that may be the one of a parameter, but of nothing else at the top."""
        name, number = wanted, 2
        while name in self._taken:
            name, number = f"{wanted}_{number}", number + 1
        self._taken.add(name)
        self._inner.add(name)
        return name

    def imported(self, module: str, name: str) -> str:
        """Return how the module refers to a name of another module, which it imports."""
        if (module, name) not in self._known:
            own = self.new(name)
            self._known[module, name] = own
            self._imports.setdefault(module, set()).add(name if own == name else f"{name} as {own}")
        return self._known[module, name]

    def known(self, module: str, name: str) -> str | None:
        """Return how the module refers to a name that it imports already; ``None``: it does not."""
        return self._known.get((module, name))

    def builtin(self, name: str) -> str:
        """Return how the module refers to a built-in."""
        assert hasattr(builtins, name)
        if name not in self._inner and name not in self._taken:
            return name
        if ("", "builtins") not in self._known:
            own = self._known["", "builtins"] = self.new("builtins")
            self._imports.setdefault("", set()).add("builtins" if own == "builtins" else f"builtins as {own}")
        return f"{self._known['', 'builtins']}.{name}"

    def import_lines(self) -> list[str]:
        """Return the imports, sorted."""
        plain = [f"import {name}" for name in sorted(self._imports.get("", ()))]
        modules = sorted((module in _INSTALLED, module) for module in self._imports if module)
        lines = [f"from {module} import {', '.join(sorted(self._imports[module]))}" for _, module in modules]
        own = sum(installed for installed, _ in modules)
        standard = [*plain, *lines[: len(lines) - own]]
        return [*standard, *([""] if own and standard else []), *lines[len(lines) - own :]]
