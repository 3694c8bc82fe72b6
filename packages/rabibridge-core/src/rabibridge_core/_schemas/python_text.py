"""Writes texts of others into a generated module so that none of them can be code."""

from __future__ import annotations

import ast

from rabibridge_core.errors import ConfigurationError

__all__ = ["check_module", "docstring"]

_STATEMENTS = (
    *(ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef),
    *(ast.Assign, ast.AnnAssign, ast.Expr),
)
_FOREIGN = (ast.Lambda, ast.Await, ast.Yield, ast.YieldFrom, ast.NamedExpr, ast.JoinedStr, ast.For, ast.While, ast.With)
_MODULES = frozenset(
    {
        *("__future__", "builtins", "collections.abc", "dataclasses", "datetime", "decimal", "enum", "typing", "uuid"),
        *("rabibridge_core", "typing_extensions"),
    }
)
_METHODS = ("fromisoformat",)


def docstring(text: str, indent: str) -> list[str]:
    """Return the lines of a docstring that says ``text``, indented."""
    text = text.strip()
    safe = text.replace("\\", "\\\\")
    if '"""' in text or text.endswith('"'):
        safe = safe.replace('"', r"\"")
    safe = "".join(each if each.isprintable() or each == "\n" else _escaped(each) for each in safe)
    first, *rest = safe.split("\n")
    lines = [f'{indent}"""{first}', *(f"{indent}{line}".rstrip() for line in rest)]
    if rest:
        return [*lines, f'{indent}"""']
    return [f'{lines[0]}"""']


def _escaped(character: str) -> str:
    """Return the escape of a character, or that in words: Python 3.13 compiles no docstring with half a character."""
    escape = character.encode("unicode_escape", "backslashreplace").decode()
    return f"\\{escape}" if "\ud800" <= character <= "\udfff" else escape


def check_module(source: str) -> None:
    """Check that a generated module consists of declarations only.

    Raises:
        ConfigurationError: it does not: the schema that it was made of was meant to do harm, or this is a fault.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConfigurationError(f"the schemas give no module of Python: {error}") from error
    for part in tree.body:
        if not isinstance(part, _STATEMENTS) or (isinstance(part, ast.Expr) and type(part.value) is not ast.Constant):
            raise ConfigurationError(f"the schemas give a module with a statement in line {part.lineno}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and not {alias.name for alias in node.names} <= _MODULES:
            raise ConfigurationError(f"the schemas give a module with an import in line {node.lineno}")
        if isinstance(node, ast.ImportFrom) and node.module not in _MODULES:
            raise ConfigurationError(f"the schemas give a module with an import in line {node.lineno}")
        if isinstance(node, _FOREIGN) or (isinstance(node, ast.Call) and not _is_expected(node.func)):
            raise ConfigurationError(f"the schemas give a module with code in line {getattr(node, 'lineno', '?')}")


def _is_expected(called: ast.expr) -> bool:
    return isinstance(called, ast.Name) or (isinstance(called, ast.Attribute) and called.attr in _METHODS)
