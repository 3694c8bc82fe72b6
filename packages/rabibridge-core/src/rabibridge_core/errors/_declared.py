"""Errors that programs declare for their services, and the classes that this program knows, by code.

The registry holds its classes weakly: one that a hot reload has replaced goes with its module.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import re
import sys
import typing
from typing import Any, dataclass_transform
from weakref import WeakKeyDictionary, WeakValueDictionary

from rabibridge_core.errors._tree import RegistrationError, RemoteExecutionError

__all__ = ["ServiceError", "declared_class", "fields_of", "hints_of", "place_of_class"]

_CODE = re.compile(r"[A-Za-z0-9_.-]{1,100}", re.ASCII).fullmatch

_classes: WeakValueDictionary[str, type[ServiceError]] = WeakValueDictionary()
_hints: WeakKeyDictionary[type[ServiceError], dict[str, Any]] = WeakKeyDictionary()
"""The annotations of classes, as far as they could be resolved."""


@dataclass_transform(eq_default=False, field_specifiers=(dataclasses.field,))
class ServiceError(RemoteExecutionError):
    """The base of the errors that a service raises on purpose, as a part of its interface.

    A subclass has a code, by which it is known in other processes, and fields: its annotations, as in a dataclass, with
    defaults, ``dataclasses.field`` and inheritance. Do not decorate it as one. Raised by a function that is called, it
    ends the call with the same class and the same fields, if the program of the caller has declared a class of that
    code: this class, imported from a module that both sides share, or one of its own. Else, or if the fields do not fit
    the annotations, the call ends with a RemoteExecutionError with ``code`` and ``fields``. No class is found by a name
    from the other side, and no code of it runs but what its annotations need.

    The fields travel in msgpack or JSON, whatever the serializer of the call, and may take 16 KiB.

    Two errors are equal if they are of one class and their fields are equal. An error can be pickled and copied.

    Example::

        class OutOfStock(ServiceError, code="out_of_stock"):
            sku: str
            left: int = 0

        raise OutOfStock("A-17", left=2)

    The text of an error is its code and its fields. A subclass may define ``__str__``, or a field ``message``, which is
    the text then, unless it is empty. At the caller, control characters in that text are escaped, since it is printed
    and logged there; the field has them.

    Class arguments:
        code: 1 to 100 of the characters A-Z, a-z, 0-9, ``_``, ``.`` and ``-``. A program has one class for each code;
            with a prefix, as in ``"stock.not_found"``, codes of several services stay apart. A class without a code
            cannot be raised: it is a base of others.
        kw_only: the fields are given by name only.

    Attributes:
        code: the code of the class.
        func_name: at the caller: the function that was called; else empty.
        correlation_id: at the caller: the id of the call; else empty.
        error_type: at the caller: the name of the class on the worker; else empty. ``error_types``, ``error_message``
            and ``remote_traceback`` likewise.

    Raises:
        RegistrationError: when a subclass is declared: its code has another form or belongs to another class, or a
            field has the name of an attribute of every error.
        TypeError: when an error is made: the arguments are not its fields, or its class has no code.
    """

    code: str = ""
    func_name = ""
    correlation_id = ""
    error_type = ""
    error_types = ()
    error_message = ""
    remote_traceback = ""

    def __init_subclass__(cls, *, code: str | None = None, kw_only: bool = False, **others: Any) -> None:
        """Declare the class."""
        super().__init_subclass__(**others)
        if code is not None and not (isinstance(code, str) and _CODE(code)):
            raise RegistrationError(
                f"{place_of_class(cls)}: its code is {repr(code)[:120]}; it must be 1 to 100 of the characters A-Z, "
                "a-z, 0-9, '_', '.' and '-'"
            )
        cls.code = code or ""  # pyright: ignore[reportIncompatibleVariableOverride]
        # Comparing and hashing are not generated: an exception that cannot be hashed breaks code that handles it.
        dataclasses.dataclass(eq=False, repr=False, kw_only=kw_only)(cls)
        for field in fields_of(cls):
            if hasattr(ServiceError, field.name) and field.name != "received":  # it is newer than programs
                raise RegistrationError(
                    f"{place_of_class(cls)}: its field {field.name!r} has the name of an attribute of every error; "
                    "give it another name"
                )
        if "<locals>" in cls.__qualname__:
            with contextlib.suppress(Exception):  # the names of the function around it are known only now
                _hints[cls] = typing.get_type_hints(cls, localns=dict(sys._getframe(1).f_locals), include_extras=True)
        if code is not None:
            _declare(cls, code)

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Refuse a class without a code."""
        if not cls.code:
            raise TypeError(
                f"{cls.__qualname__} has no code and cannot be raised: declare a class with one, as in class "
                f"MyError({cls.__qualname__}, code='my_error')"
            )
        return super().__new__(cls)

    @property
    def fields(self) -> dict[str, Any]:
        """The fields, by name."""
        return {field.name: getattr(self, field.name) for field in fields_of(self)}

    def __eq__(self, other: object) -> bool:
        """Compare class and fields."""
        if self is other:
            return True
        return isinstance(other, ServiceError) and type(self) is type(other) and self.fields == other.fields

    def __hash__(self) -> int:
        """Return the same for all errors of a class: their fields may change, and may not be hashable."""
        return hash(type(self))

    def __str__(self) -> str:
        """Return the field ``message`` if there is one, else the code and the fields.

        Of an error that has come from another program, what could control a terminal or forge a line is escaped; the
        field itself is as it was sent.
        """
        message = getattr(self, "message", None)
        if isinstance(message, str) and message:
            return _escaped(message) if self.func_name else message
        shown = self._shown_fields()
        return f"{self.code}: {shown}" if shown else self.code

    def __repr__(self) -> str:
        """Show the class and the fields."""
        return f"{type(self).__qualname__}({self._shown_fields()})"

    def _shown_fields(self) -> str:
        shown = (field.name for field in fields_of(self) if field.repr)
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)


def _escaped(text: str) -> str:
    # As rabibridge_core._reporting does it, which this package does not import.
    if text.isprintable():
        return text
    shown = (
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape", "backslashreplace").decode()
        for char in text
    )
    return "".join(shown).replace("\n", "\n  ")


def fields_of(error: Any) -> tuple[dataclasses.Field[Any], ...]:
    """Return the fields of an error or its class, with those of its bases."""
    return dataclasses.fields(error)


def hints_of(cls: type[ServiceError]) -> dict[str, Any]:
    """Return the annotations of a class and of its bases, resolved.

    Raises:
        RegistrationError: one names something that is not found.
    """
    hints = _hints.get(cls)
    if hints is None:
        try:
            hints = _hints[cls] = typing.get_type_hints(cls, include_extras=True)
        except NameError as error:
            raise RegistrationError(
                f"{place_of_class(cls)}: an annotation of its fields names {error.name!r}, which is not found: import "
                "it where the class is declared, outside of 'if TYPE_CHECKING:'"
            ) from error
        except Exception as error:
            raise RegistrationError(f"{place_of_class(cls)}: an annotation of its fields is none: {error}") from error
    return hints


def declared_class(code: str) -> type[ServiceError] | None:
    """Return the class of this code that the program has declared last, ``None`` if there is none."""
    return _classes.get(code)


def place_of_class(cls: type) -> str:
    """Return the name of a class, with its file if that is known, for error messages."""
    file = _file_of(cls)
    return f"{cls.__module__}.{cls.__qualname__}" + (f" ({file})" if file else "")


def _declare(cls: type[ServiceError], code: str) -> None:
    known = _classes.get(code)
    if known is not None and not _is_replaced(known, cls):
        del known
        gc.collect()  # a class is part of cycles: one that nobody uses any more may still be there
        known = _classes.get(code)
        if known is not None:
            raise RegistrationError(
                f"two classes have the code {code!r}: {place_of_class(known)} and {place_of_class(cls)}; give one of "
                "them another code, or import one of them where the other one is used"
            )
    _classes[code] = cls


def _is_replaced(known: type, by: type) -> bool:
    """Tell whether a class has been defined again: its module was loaded anew, or imported under a second name."""
    if known.__qualname__ == by.__qualname__ and (_file_of(known) or known.__module__) == (
        _file_of(by) or by.__module__
    ):
        return True
    # Only what stands in a module itself can be looked up: the class around a class is there when its body ends.
    module, name = sys.modules.get(known.__module__), known.__qualname__
    return "." not in name and getattr(module, name, None) is not known


def _file_of(cls: type) -> str | None:
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return file if isinstance(file, str) else None
