"""The fixtures that authors of transports may leave out, and what becomes of the tests that need them."""

from __future__ import annotations

from typing import Any

import pytest

__all__ = ["OPTIONAL", "optional"]

OPTIONAL = {
    "cut_off": "unreachable",
    "remove_queue": "delete_queue",
    "transport_of": "user_transport",
    "limit_messages": "message_limit",
    "read_dead_letters": "dead_letters",
}
"""The fixture of the author by that of the suite which provides it."""


def optional(request: pytest.FixtureRequest, name: str) -> Any:
    """Return the author's fixture ``name``; without one, skip the test, with the author's reason if there is one."""
    suite: Any = request.cls
    reason = suite.without.get(name)
    if reason:
        pytest.skip(reason)
    try:
        return request.getfixturevalue(name)
    except pytest.FixtureLookupError as error:
        if error.argname != name:
            raise  # the fixture exists, and requests another one that does not
        pytest.skip(f"needs the optional fixture {name!r}: define it to run this test")
