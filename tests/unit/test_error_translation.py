"""What aiormq raises becomes an error of RabiBridge."""

from __future__ import annotations

import pytest

from rabibridge._connection.error_translation import translated
from rabibridge_core.errors import ConnectionLostError


def test_what_aiormq_ends_without_an_error_is_a_lost_connection() -> None:
    with (
        pytest.raises(ConnectionLostError, match=r"^declaring: the connection to the broker is lost"),
        translated("declaring"),
    ):
        raise Exception  # what aiormq raises in a task that it ends


def test_an_error_of_the_program_stays_what_it_is() -> None:
    with pytest.raises(ZeroDivisionError), translated("declaring"):
        raise ZeroDivisionError
