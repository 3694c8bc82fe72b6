"""The changes of a module's source, one by one."""

from __future__ import annotations

import ast
from collections import Counter
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType

__all__ = ["Mutant", "changed_code", "mutants_of"]

_LONGEST = 90
_NOT_CHANGED = {"__repr__", "__init_subclass__"}
_REPORTED = ("_log.", "_limited.", "self._log(", "self._log_", "warnings.", "self._limited.")
"""How calls begin that only tell people something."""

_LEFT_ALONE = (ast.Assert, ast.ClassDef, ast.Import, ast.ImportFrom)

_FLIPPED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}  # fmt: skip
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult
}  # fmt: skip


class Mutant(NamedTuple):
    """One change.

    Attributes:
        function: the qualified name of the function.
        line: where it is.
        old: what stands there.
        new: what the mutant has instead.
        number: which change of the module it is.
    """

    function: str
    line: int
    old: str
    new: str
    number: int

    @property
    def text(self) -> str:
        """The change in a line."""
        return f"{self.function}: {self.old} -> {self.new}"


class _Change(NamedTuple):
    function: str
    node: ast.AST
    line: int
    new: str
    make: Callable[[], None]


class _Slot(NamedTuple):
    """A place in the tree that holds an expression."""

    parent: ast.AST
    field: str
    at: int | None
    node: ast.expr

    def put(self, new: ast.AST) -> None:
        if self.at is None:
            setattr(self.parent, self.field, new)
        else:
            getattr(self.parent, self.field)[self.at] = new


def mutants_of(source: str) -> list[Mutant]:
    """Return the changes of a module; of two with the same text, the second has a number at its end."""
    found, seen = [], Counter[str]()
    for number, change in enumerate(_in_scope(ast.parse(source).body, "")):
        mutant = Mutant(change.function, change.line, _short(change.node), change.new, number)
        seen[mutant.text] += 1
        if (times := seen[mutant.text]) > 1:
            mutant = mutant._replace(new=f"{mutant.new} ({times})")
        found.append(mutant)
    return found


def changed_code(source: str, path: str, number: int | None) -> CodeType:
    """Compile a module with one of its changes, or as it is; lines keep their numbers."""
    tree = ast.parse(source)
    if number is not None:
        next(islice(_in_scope(tree.body, ""), number, None)).make()
    code: CodeType = compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)
    return code


def _short(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _in_scope(body: list[ast.stmt], prefix: str) -> Iterator[_Change]:
    for statement in body:
        if isinstance(statement, ast.ClassDef):
            if not any(_short(base).startswith("Protocol") for base in statement.bases):
                yield from _in_scope(statement.body, f"{prefix}{statement.name}.")
        elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef) and statement.name not in _NOT_CHANGED:
            yield from _in_block(statement.body, prefix + statement.name)


def _in_block(body: list[ast.stmt], function: str) -> Iterator[_Change]:
    for at, statement in enumerate(body):
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _in_block(statement.body, f"{function}.<locals>.{statement.name}")
        elif not (isinstance(statement, _LEFT_ALONE) or _only_tells(statement)):
            for new in () if _is_given(statement, function) else _instead_of(statement):
                yield _Change(function, statement, statement.lineno, _short(new), partial(_put, body, at, new))
            yield from _in_statement(statement, function)


def _is_given(statement: ast.stmt, function: str) -> bool:
    """Tell whether nothing works without it: attributes of new objects."""
    return function.endswith(".__init__") and isinstance(statement, ast.Assign)


def _put(body: list[ast.stmt], at: int, new: ast.stmt) -> None:
    body[at] = new


def _only_tells(statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.Expr):
        return False
    return isinstance(statement.value, ast.Constant) or _short(statement).startswith(_REPORTED)


def _instead_of(statement: ast.stmt) -> Iterator[ast.stmt]:
    new: list[ast.stmt] = []
    match statement:
        case ast.Expr(value=ast.Call() | ast.Await()) | ast.Delete() | ast.Raise() | ast.Return(value=None):
            new = [ast.Pass()]
        case ast.Assign(targets=targets) if any(isinstance(one, ast.Attribute | ast.Subscript) for one in targets):
            new = [ast.Pass()]
        case ast.AugAssign(target=target, op=operator, value=value):
            new = [ast.Pass()]
            if other := _ARITHMETIC.get(type(operator)):
                new.append(ast.AugAssign(target, other(), value))
        case ast.Return(value=ast.Constant(value=bool() | None)):
            pass  # the constant is changed
        case ast.Return():
            new = [ast.Return(ast.Constant(None))]
        case ast.Break():
            new = [ast.Continue()]
        case ast.Continue():
            new = [ast.Break(), ast.Pass()]
    for one in new:
        yield ast.copy_location(one, statement)


def _in_statement(statement: ast.stmt, function: str) -> Iterator[_Change]:
    """Yield the changes of the parts of a statement: its expressions, then its blocks."""
    if not isinstance(statement, ast.Raise):
        for slot in _slots(statement):
            for new in _instead_of_expression(slot):
                ast.copy_location(new, slot.node)
                yield _Change(function, slot.node, slot.node.lineno, _short(new), partial(slot.put, new))
    for _, value in ast.iter_fields(statement):
        parts = value if isinstance(value, list) else []
        if parts and isinstance(parts[0], ast.stmt):
            yield from _in_block(parts, function)
        for part in parts:
            if isinstance(part, ast.ExceptHandler):
                yield from _in_handler(part, function)
            elif isinstance(part, ast.match_case):
                yield from _in_block(part.body, function)


def _in_handler(handler: ast.ExceptHandler, function: str) -> Iterator[_Change]:
    if not (isinstance(handler.body[0], ast.Raise) and handler.body[0].exc is None):
        again = ast.copy_location(ast.Raise(), handler.body[0])
        caught = ast.Expr(handler.type or ast.Name("BaseException"))
        shown = f"except {_short(caught)}"
        new = f"{shown}: raise"
        yield _Change(function, ast.Name(shown), handler.body[0].lineno, new, partial(_put_all, handler, again))
    yield from _in_block(handler.body, function)


def _put_all(handler: ast.ExceptHandler, new: ast.stmt) -> None:
    handler.body = [new]


def _slots(parent: ast.AST) -> Iterator[_Slot]:
    for field, value in ast.iter_fields(parent):
        if field in {"annotation", "targets", "target", "decorator_list", "optional_vars", "handlers", "cases"}:
            continue
        several = isinstance(value, list)
        for at, node in enumerate(value if several else [value]):
            if isinstance(node, ast.JoinedStr | ast.Slice | ast.stmt):
                continue
            if isinstance(node, ast.expr):
                yield _Slot(parent, field, at if several else None, node)
            if isinstance(node, ast.AST):
                yield from _slots(node)


def _instead_of_expression(slot: _Slot) -> Iterator[ast.expr]:
    node = slot.node
    match node:
        case ast.Compare(left=left, ops=operators, comparators=comparators):
            for at, operator in enumerate(operators):
                for other in _FLIPPED[type(operator)][: 2 if len(operators) == 1 else 1]:
                    yield ast.Compare(left, [*operators[:at], other(), *operators[at + 1 :]], comparators)
        case ast.BoolOp(op=operator, values=values):
            yield ast.BoolOp(ast.Or() if isinstance(operator, ast.And) else ast.And(), values)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand
        case ast.BinOp(left=left, op=operator, right=right) if other_operator := _ARITHMETIC.get(type(operator)):
            if not any(_is_text(side) for side in (left, right)):
                yield ast.BinOp(left, other_operator(), right)
        case ast.Constant(value=bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            yield ast.Constant(value + 1)
        case ast.Call(func=ast.Name(id="min" | "max" as name), args=arguments, keywords=keywords):
            changed = ast.copy_location(ast.Name("max" if name == "min" else "min", ast.Load()), node)
            yield ast.Call(changed, arguments, keywords)
    if slot.field == "test" and not _is_negated_already(node):
        yield ast.UnaryOp(ast.Not(), node)


def _is_negated_already(node: ast.expr) -> bool:
    if isinstance(node, ast.Compare):
        return len(node.ops) == 1
    return isinstance(node, ast.Constant) or (isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not))


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str | bytes))
