"""Gives the functions of a module other code, in place."""

from __future__ import annotations

import gc
from collections import Counter
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Functions", "functions_of", "replace_code"]

_Key: TypeAlias = tuple[str, int]
Functions: TypeAlias = dict[_Key, list[FunctionType]]
"""Those of a module, by their qualified names and lines."""


def functions_of(paths: Iterable[str]) -> dict[str, Functions]:
    """Return all functions of the modules with these files. Call it before ``gc.freeze()``."""
    found: dict[str, Functions] = {path: {} for path in paths}
    for function in gc.get_objects():
        if type(function) is FunctionType and (functions := found.get(function.__code__.co_filename)) is not None:
            functions.setdefault(_key(function.__code__), []).append(function)
    return found


def replace_code(functions: Functions, module: CodeType) -> int:
    """Give the functions the code that they have in a compiled module; return how many have other code now.

    Functions within functions get it when the outer one makes them. Two of one name in one line are left alone.
    """
    codes = list(_codes(module))
    times = Counter(map(_key, codes))
    changed = 0
    for code in codes:
        if times[_key(code)] > 1:
            continue
        for function in functions.get(_key(code), ()):
            if function.__code__ != code:
                function.__code__ = code
                changed += 1
    return changed


def _key(code: CodeType) -> _Key:
    return code.co_qualname, code.co_firstlineno


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)
