"""Arrays of numpy: they arrive equal and with memory of their own, or are refused."""

from __future__ import annotations

import json
import subprocess
import sys
import typing
from typing import TYPE_CHECKING, Any

import msgpack  # type: ignore[import-untyped]  # it ships no types
import pytest

from rabibridge_core._codec.annotations import result_adapter
from rabibridge_core._codec.serializers import JsonSerializer, MsgpackSerializer
from rabibridge_core.errors import SerializationError

if TYPE_CHECKING:
    from pathlib import Path

numpy: Any = pytest.importorskip("numpy")
pytest.importorskip("numpy.typing")
pack: Any = msgpack.packb
SERIALIZERS = pytest.mark.parametrize("serializer", [MsgpackSerializer(), JsonSerializer()], ids=["msgpack", "json"])


@SERIALIZERS
@pytest.mark.parametrize(
    "array",
    [
        numpy.arange(6).reshape(2, 3),
        numpy.arange(12.0).reshape(3, 4).T[::2],
        numpy.array(1.5),
        numpy.zeros((0, 3), dtype="float32"),
        numpy.array([True, False]),
        numpy.array([1 + 2j], dtype="complex64"),
        numpy.array(["a", "bcd"]),
        numpy.array([b"a", b"bcd"]),
        numpy.array(["2024-05-17", "NaT"], dtype="M8[ns]"),
        numpy.array([5], dtype="m8[25s]"),
        numpy.arange(3, dtype=">u2"),
        numpy.zeros((2, 300, 300)),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_arrive(serializer: Any, array: Any) -> None:
    read = serializer.loads(serializer.dumps([[array], {"a": array}]))[0][0]
    assert type(read) is numpy.ndarray
    assert read.dtype == array.dtype
    assert read.dtype.str == array.dtype.str
    assert read.shape == array.shape
    numpy.testing.assert_array_equal(read, array)
    assert read.flags.writeable
    assert read.flags.owndata


@SERIALIZERS
def test_scalars_arrive_as_numbers_of_python(serializer: Any) -> None:
    scalars = [numpy.int64(1), numpy.float32(0.5), numpy.bool_(True), numpy.float64(1.5), numpy.uint64(2**64 - 1)]
    read = serializer.loads(serializer.dumps([*scalars, numpy.datetime64("2024-05-17"), {numpy.int8(1)}]))
    assert [type(one).__name__ for one in read] == ["int", "float", "bool", "float", "int", "date", "set"]
    assert read[:5] == scalars


@SERIALIZERS
@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (numpy.array([object()]), "an array of type 'object'"),
        (numpy.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]), "cannot be encoded: only arrays of"),
        (numpy.ma.masked_array([1, 2], [True, False]), "MaskedArray cannot be encoded"),
        (numpy.datetime64(1, "ns"), "datetime64 of numpy"),
        (numpy.datetime64("NaT", "s"), "datetime64 of numpy"),
        (numpy.longdouble(1), "longdouble of numpy|float128 of numpy|float96 of numpy"),
    ],
    ids=lambda value: "" if isinstance(value, str) else type(value).__name__,
)
def test_what_would_not_arrive_is_refused(serializer: Any, array: Any, reason: str) -> None:
    with pytest.raises(SerializationError, match=reason):
        serializer.dumps([array])


MALFORMED = [
    ["|O", [1], bytes(8)],
    ["|V8", [1], bytes(8)],
    ["<f8", [2], bytes(8)],
    ["<f8", [-1], bytes(8)],
    ["<f8", [1.0], bytes(8)],
    ["<f8", [True], bytes(8)],
    ["<f8", ["1"], bytes(8)],
    ["<f8", [0, 2**62], b""],
    ["<f8", [1] * 33, bytes(8)],
    ["<f8", 1, bytes(8)],
    ["<f8", [1], "12345678"],
    ["f8", [1], bytes(8)],
    ["<U0", [1000], b""],
    ["<U1", [1], b"\xff\xff\xff\xff"],
    ["|b1", [1], b"\x02"],
    ["<M8[xx]", [1], bytes(8)],
    ["<f16", [1], bytes(16)],
    ["i4,i4", [1], bytes(8)],
    [8, [1], bytes(8)],
    ["<f8", [1]],
]


@pytest.mark.parametrize("parts", MALFORMED, ids=str)
def test_malformed_arrays_are_refused(parts: list[Any]) -> None:
    packed = pack([msgpack.ExtType(82, b"\x0b" + pack(parts))])
    written = [{"$rb": ["bytes", ""]} if isinstance(part, bytes) else part for part in parts]
    for serializer, body in (
        (MsgpackSerializer(), packed),
        (JsonSerializer(), json.dumps([{"$rb": ["ndarray", written]}])),
    ):
        with pytest.raises(SerializationError, match="a ndarray in it is malformed"):
            serializer.loads(body if isinstance(body, bytes) else body.encode())


@pytest.mark.parametrize(
    "annotation",
    [
        numpy.ndarray,
        numpy.ndarray | None,
        numpy.typing.NDArray[numpy.float64],
        typing.Annotated[numpy.ndarray, "meta"],
        typing.Annotated[numpy.ndarray | None, "meta"],
    ],
    ids=str,
)
def test_annotations_may_name_arrays(annotation: Any) -> None:
    array = numpy.arange(2.0)
    for outer, value, wrong in (
        (annotation, array, "a"),
        (list[annotation], [array], [1]),
        (dict[str, tuple[annotation, ...]], {"a": (array,)}, {"a": (1,)}),
    ):
        adapter = result_adapter(outer)
        assert adapter is not None
        assert str(adapter(value)) == str(value)
        with pytest.raises(SerializationError, match="instance of ndarray"):
            adapter(wrong)


def test_without_numpy_an_array_says_what_it_needs(tmp_path: Path) -> None:
    code = f"""
import sys
sys.modules["numpy"] = None
from rabibridge_core._codec.msgpack_serializer import MsgpackSerializer
print(MsgpackSerializer().loads(MsgpackSerializer().dumps([{{1}}])))
try:
    MsgpackSerializer().loads({MsgpackSerializer().dumps(numpy.arange(2))!r})
except ValueError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": ":".join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    assert "[{1}]" in done.stdout
    assert "needs numpy, which is not installed here: pip install 'rabibridge-core[numpy]'" in done.stdout
