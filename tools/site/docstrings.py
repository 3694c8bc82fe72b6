"""An extension of griffe: docstrings name other objects by roles of reStructuredText, which Markdown does not know."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod|obj):`(?P<short>~?)(?P<target>[^`]+)`")
_CODE = re.compile(r"``(?P<code>[^`]+)``")


class Roles(griffe.Extension):
    """Turns roles into code: :class:`~module.Name` becomes ``Name``."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of ``obj``."""
        if obj.docstring is not None:
            obj.docstring.value = plain(obj.docstring.value)


def plain(docstring: str) -> str:
    """Return ``docstring`` in Markdown."""
    return _CODE.sub(r"`\g<code>`", _ROLE.sub(_code, docstring))


def _code(role: re.Match[str]) -> str:
    target = role["target"]
    return f"`{target.rpartition('.')[2] if role['short'] else target}`"
