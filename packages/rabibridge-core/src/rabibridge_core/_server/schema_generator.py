"""Writes JSON schemas as pydantic does, and adds what a program needs to make the Python types of them again.

JSON has fewer types than Python: a ``Decimal`` is a text there, a set and a tuple are arrays. The keyword
``x-python-type`` names the type, one of a short list, and ``x-enum-varnames`` the members of an ``Enum``. Validators
ignore both, and neither makes a reader import anything.
"""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema

__all__ = ["MEMBER_NAMES", "PYTHON_TYPE", "SchemaGenerator"]

PYTHON_TYPE = "x-python-type"
"""The keyword with the name of the Python type: one that JSON has not, or ``TypedDict``."""
MEMBER_NAMES = "x-enum-varnames"
"""The keyword with the names of the members of an ``Enum``, in the order of their values."""

_PLAIN_FACTORIES = (list, dict, set, frozenset, tuple, str, int, float, bool)


class SchemaGenerator(GenerateJsonSchema):
    """Makes the schemas of one service, with names of definitions that are unique among them.

    A part that has no JSON schema, such as a class that pydantic does not know, is any value.
    """

    ignored_warning_kinds: Any = frozenset(("skipped-choice", "non-serializable-default"))
    undescribed: str = ""
    """What pydantic has said about the last part that has no schema; empty: there was none."""

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> dict[str, Any]:
        """Let what has no schema be any value."""
        self.undescribed = error_info
        return {}

    def decimal_schema(self, schema: Any) -> dict[str, Any]:
        """Describe a ``Decimal`` as a text, in arguments and results alike."""
        return {"type": "string", PYTHON_TYPE: "Decimal"}

    def complex_schema(self, schema: Any) -> dict[str, Any]:
        """Describe a complex number."""
        return _typed(super().complex_schema(schema), "complex")

    def set_schema(self, schema: Any) -> dict[str, Any]:
        """Describe a set."""
        return _typed(super().set_schema(schema), "set")

    def frozenset_schema(self, schema: Any) -> dict[str, Any]:
        """Describe a frozen set."""
        return _typed(super().frozenset_schema(schema), "frozenset")

    def tuple_schema(self, schema: Any) -> dict[str, Any]:
        """Describe a tuple."""
        return _typed(super().tuple_schema(schema), "tuple")

    def typed_dict_schema(self, schema: Any) -> dict[str, Any]:
        """Describe a ``TypedDict``, which may leave out keys, as no dataclass may."""
        return _typed(super().typed_dict_schema(_without_computed(schema)), "TypedDict")

    def enum_schema(self, schema: Any) -> dict[str, Any]:
        """Describe an ``Enum`` with the names of its members."""
        found = super().enum_schema(schema)
        names = [str(member.name) for member in schema["members"]]
        return {**found, MEMBER_NAMES: names} if len(names) == len(found.get("enum", ())) else found

    def model_fields_schema(self, schema: Any) -> dict[str, Any]:
        """Describe the fields of a model: computed ones do not travel."""
        return super().model_fields_schema(_without_computed(schema))

    def dataclass_args_schema(self, schema: Any) -> dict[str, Any]:
        """Describe the fields of a dataclass: computed ones do not travel."""
        return super().dataclass_args_schema(_without_computed(schema))

    def default_schema(self, schema: Any) -> dict[str, Any]:
        """Describe a value with a default: that of a secret stays one, and an empty list or the like is said."""
        factory = schema.get("default_factory")
        if any(factory is plain for plain in _PLAIN_FACTORIES):
            schema = {key: value for key, value in schema.items() if key != "default_factory"}
            schema["default"] = factory()
        found = super().default_schema(schema)
        return without_secret_default(found)


def without_secret_default(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without its default if the value is a secret."""
    secret = schema.get("writeOnly") or schema.get("format") == "password"
    inner = [*schema.get("anyOf", ()), *schema.get("allOf", ())]
    secret = secret or any(isinstance(each, dict) and each.get("format") == "password" for each in inner)
    return {key: value for key, value in schema.items() if key != "default"} if secret else schema


def _typed(schema: dict[str, Any], name: str) -> dict[str, Any]:
    return {**schema, PYTHON_TYPE: name}


def _without_computed(schema: Any) -> Any:
    return {**schema, "computed_fields": []} if schema.get("computed_fields") else schema
