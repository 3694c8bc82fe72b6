"""Strategies for header tables: of our own making, and of any."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import strategies as st

short = st.text(max_size=60)
scalars = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, width=32),  # as pamqp writes them
    short,
    st.binary(max_size=60).map(bytearray),
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)).map(
        lambda moment: moment.replace(microsecond=0)
    ),
    st.none(),
)
foreign_tables = st.dictionaries(st.text(max_size=20), scalars, max_size=6)
header_values = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), short, st.binary(max_size=60)
)
own_tables = st.dictionaries(st.text(max_size=20), header_values, max_size=6)
