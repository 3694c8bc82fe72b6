"""Writes a module of Python with which services are called by people who have not their code.

It declares the services, and the types and errors that they name. Whatever takes a function takes a declaration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rabibridge_core._schemas.definitions import with_shared_definitions
from rabibridge_core._schemas.python_classes import (
    can_be_error,
    enum_lines,
    error_class_name,
    error_lines,
    inner_names,
    is_class,
    is_enum,
    value_lines,
)
from rabibridge_core._schemas.python_functions import Declarations
from rabibridge_core._schemas.python_names import Names, class_name, identifier, is_usable
from rabibridge_core._schemas.python_text import check_module, docstring
from rabibridge_core._schemas.python_types import PythonTypes, literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rabibridge_core._schemas.services import DescribedError, DescribedService

__all__ = ["client_module"]

_HEADER = "# Written by `rabibridge stubs`: do not edit it, write it anew."


def client_module(services: Iterable[DescribedService], title: str) -> str:
    """Return the source of a module that declares the services.

    Raises:
        ConfigurationError: what is described gives no such module.
    """
    described, definitions = with_shared_definitions(services, "#/$defs/")
    described = list({each.name: each for each in reversed(described)}.values())[::-1]
    source = _Module(described, definitions).source(title)
    check_module(source)
    return source


class _Module:
    """Collects the parts of one module."""

    def __init__(self, services: list[DescribedService], definitions: dict[str, Any]) -> None:
        self._functions = [each for each in services if not _is_method(each.name)]
        self._groups: dict[str, list[DescribedService]] = {}
        for service in services:
            if _is_method(service.name):
                self._groups.setdefault(service.name.rpartition(".")[0], []).append(service)
        self._errors: dict[str, DescribedError] = {
            error.code: error for each in reversed(services) for error in reversed(each.errors) if can_be_error(error)
        }
        self._definitions = definitions
        self._names = Names(self._inner_names(services))
        self._own = {each.name: self._names.take(_function_name(each.name)) for each in self._functions}
        self._protocols = {prefix: self._names.new(class_name(prefix)) for prefix in sorted(self._groups)}
        classes = {
            name: self._names.new(class_name(name)) for name, each in sorted(definitions.items()) if is_class(each)
        }
        self._error_names = {
            code: self._names.new(error_class_name(error)) for code, error in sorted(self._errors.items())
        }
        self._types = PythonTypes(self._names, definitions, classes)

    def _inner_names(self, services: list[DescribedService]) -> set[str]:
        names = {each.name for service in services for each in service.parameters or ()}
        names.update(name for each in self._definitions.values() for name in inner_names(each))
        names.update(name for error in self._errors.values() for name in error.schema.get("properties", {}))
        for prefix, members in self._groups.items():
            names.update(_method_name(each.name.removeprefix(f"{prefix}.")) for each in members)
        return names

    def source(self, title: str) -> str:
        declarations = Declarations(self._types, self._error_names)
        parts = [*self._classes(), *self._error_classes()]
        parts += [declarations.function(self._own[each.name], each) for each in self._functions]
        parts += [self._protocol(prefix, declarations) for prefix in sorted(self._groups)]
        if declarations.unknown_default:
            about = "# In the place of defaults that only the service knows: leave such arguments out."
            parts.insert(0, [about, f"{declarations.unknown_default}: {self._types.any()} = None"])
        named = [*self._types.classes.values(), *self._error_names.values(), *self._own.values()]
        exported = sorted({*named, *self._protocols.values()})
        head = [
            *(_HEADER, *docstring(f"{title}: declarations of its services.", ""), ""),
            *("from __future__ import annotations", "", *self._names.import_lines(), ""),
            *("__all__ = [", *(f"    {literal(name)}," for name in exported), "]"),
        ]
        return "\n\n\n".join("\n".join(part) for part in [head, *parts]) + "\n"

    def _classes(self) -> list[list[str]]:
        classes = self._types.classes
        enums = {classes[name]: each for name, each in self._definitions.items() if is_enum(each)}
        parts = [enum_lines(name, schema, self._types) for name, schema in sorted(enums.items())]
        for name, schema in self._definitions.items():
            if name in classes and not is_enum(schema):
                parts.append(value_lines(classes[name], schema, self._types, enums))
        return parts

    def _error_classes(self) -> list[list[str]]:
        return [error_lines(name, self._errors[code], self._types) for code, name in self._error_names.items()]

    def _protocol(self, prefix: str, declarations: Declarations) -> list[str]:
        names = self._names
        lines = [
            f"@{names.imported('rabibridge_core', 'service')}(name={literal(prefix)})",
            f"class {self._protocols[prefix]}({names.imported('typing', 'Protocol')}):",
            *docstring(f"The services {prefix}.*, for client.service.", "    "),
        ]
        taken: list[str] = []
        for service in self._groups[prefix]:
            suffix = service.name.removeprefix(f"{prefix}.")
            name = _method_name(suffix)
            while name in taken:
                name += "_"
            taken.append(name)
            lines += ["", *declarations.method(name, suffix, service)]
        return lines


def _is_method(name: str) -> bool:
    prefix, _, suffix = name.rpartition(".")
    return bool(prefix) and bool(suffix)


def _function_name(name: str) -> str:
    return name if is_usable(name) else identifier(name)


def _method_name(suffix: str) -> str:
    """Return the name of a method: those with a leading underscore are not remote."""
    name = identifier(suffix)
    return f"m{name}" if name.startswith("_") else name
