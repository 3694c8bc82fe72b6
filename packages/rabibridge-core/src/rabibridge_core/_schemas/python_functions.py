"""Writes the services of a generated module: functions and the methods of protocols, which only declare them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rabibridge_core._schemas.python_names import is_usable
from rabibridge_core._schemas.python_text import docstring
from rabibridge_core._schemas.python_types import literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rabibridge_core._schemas.python_types import PythonTypes
    from rabibridge_core._schemas.services import DescribedParameter, DescribedService

__all__ = ["Declarations"]

_LINE_MAX = 100
_NO_BODY = "raise NotImplementedError"


@dataclass(slots=True)
class Declarations:
    """Writes declarations.

    Attributes:
        types: the annotations of the module.
        errors: the names of the classes of errors, by code.
        unknown_default: the name of what stands for defaults that are not known; empty until one is needed.
    """

    types: PythonTypes
    errors: Mapping[str, str]
    unknown_default: str = ""

    def function(self, name: str, service: DescribedService) -> list[str]:
        """Return a function that declares a service."""
        declare = self.types.names.imported("rabibridge_core", "declare_call")
        options = self._options(service, name == service.name)
        lines = [f"@{declare}({', '.join(options)})" if options else f"@{declare}"]
        return lines + self._definition(name, service, "", "", _NO_BODY)

    def method(self, name: str, suffix: str, service: DescribedService) -> list[str]:
        """Return a method of a protocol."""
        options = self._options(service, is_own=True)
        if name != suffix:
            options.insert(0, f"name={literal(suffix)}")
        declare = self.types.names.imported("rabibridge_core", "declare_call") if options else ""
        lines = [f"    @{declare}({', '.join(options)})"] if options else []
        receiver = "self"
        names = [each.name for each in service.parameters or ()]
        while receiver in names:
            receiver = f"_{receiver}"
        return lines + self._definition(name, service, "    ", receiver, "...")

    def _options(self, service: DescribedService, is_own: bool) -> list[str]:
        errors = [self.errors[each.code] for each in service.errors if each.code in self.errors]
        options = [] if is_own else [f"name={literal(service.name)}"]
        return [*options, f"raises=({', '.join(errors)},)"] if errors else options

    def _definition(self, name: str, service: DescribedService, indent: str, receiver: str, body: str) -> list[str]:
        parameters = self._parameters(service, receiver)
        result = self.types.annotation(service.result)
        keyword = "async def"
        if service.streams:
            keyword, result = "def", f"{self.types.names.imported('collections.abc', 'AsyncIterator')}[{result}]"
        lines = [f"{indent}{keyword} {name}({', '.join(parameters)}) -> {result}:"]
        if len(lines[0]) > _LINE_MAX:
            each_line = [f"{indent}    {parameter}," for parameter in parameters]
            lines = [f"{indent}{keyword} {name}(", *each_line, f"{indent}) -> {result}:"]
        if service.doc:
            lines += docstring(service.doc, f"{indent}    ")
        return [*lines, f"{indent}    {body}"]

    def _parameters(self, service: DescribedService, receiver: str) -> list[str]:
        given = service.parameters
        if given is None or not all(is_usable(each.name) for each in given) or not _is_callable(given):
            # Two names that no keyword argument has, as pyright mistakes one of the same name for them.
            return [*([receiver] if receiver else []), f"*_args: {self.types.any()}", f"**_kwargs: {self.types.any()}"]
        found = [receiver] if receiver else []
        by_kind = {kind: [each for each in given if each.kind == kind] for kind in _KINDS}
        only = by_kind["positional-only"]
        if receiver.startswith("_") or only:
            found += [*map(self._parameter, only), "/"]
        found += map(self._parameter, by_kind["either"])
        if by_kind["args"]:
            found.append(f"*{by_kind['args'][0].name}: {self.types.annotation(by_kind['args'][0].schema)}")
        elif by_kind["keyword-only"]:
            found.append("*")
        found += map(self._parameter, by_kind["keyword-only"])
        found += [f"**{each.name}: {self.types.annotation(each.schema)}" for each in by_kind["kwargs"]]
        return found

    def _parameter(self, parameter: DescribedParameter) -> str:
        annotation = self.types.annotation(parameter.schema)
        if parameter.upload:
            items = parameter.schema.get("items", {})
            item = self.types.annotation(items if isinstance(items, dict) else {})
            kinds = [self.types.names.imported("collections.abc", name) for name in ("AsyncIterable", "Iterator")]
            annotation = " | ".join(f"{kind}[{item}]" for kind in kinds)
        if parameter.required:
            return f"{parameter.name}: {annotation}"
        default = None if parameter.upload else self.types.default(parameter.schema)
        return f"{parameter.name}: {annotation} = {default if default is not None else self._unknown()}"

    def _unknown(self) -> str:
        self.unknown_default = self.unknown_default or self.types.names.new("DEFAULT")
        return self.unknown_default


_KINDS = ("positional-only", "either", "args", "keyword-only", "kwargs")


def _is_callable(parameters: tuple[DescribedParameter, ...]) -> bool:
    """Tell whether Python allows these parameters: no required one behind one that has a default."""
    optional = [not each.required for each in parameters if each.kind in ("positional-only", "either")]
    counts = [sum(each.kind == kind for each in parameters) for kind in ("args", "kwargs")]
    return sorted(optional) == optional and max(counts) <= 1
