"""Which serializer is meant: by its name, or by the content type of what arrives."""

from __future__ import annotations

from typing import Any

import pytest

from rabibridge_core._codec.serializers import AcceptList, Serializer, SerializerRegistry
from rabibridge_core._codec.serializers import registry as known
from rabibridge_core.errors import ConfigurationError, ContentRejectedError, PluginError
from tests.unit.codec_support import NAMES


class Rot13:
    """A serializer such as a plug-in would bring."""

    def __init__(self, name: str = "rot13", content_type: str = "application/x-rot13") -> None:
        self.name = name
        self.content_type = content_type
        self.trusted_only = False

    def dumps(self, value: object) -> bytes:
        return str(value).encode()

    def loads(self, data: bytes | bytearray | memoryview) -> Any:
        return str(data, "utf-8")


def test_serializers_are_found_by_name_or_passed_as_objects() -> None:
    assert [serializer.name for serializer in SerializerRegistry()] == list(NAMES)
    assert known.get(" MsgPack ").content_type == "application/msgpack"
    own = Rot13()
    assert known.get(own) is own
    assert [known.get(name).trusted_only for name in NAMES] == [False, False, True, True]


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="'yaml'; known: cloudpickle, json, msgpack, pickle"):
        known.get("yaml")
    with pytest.raises(ConfigurationError, match="its name is not a str"):
        known.get(object())  # type: ignore[arg-type]


def test_a_plugin_adds_a_serializer_once() -> None:
    registry = SerializerRegistry()
    own = Rot13()
    registry.add(own)
    registry.add(own)
    assert registry.get("rot13") is own
    with pytest.raises(ConfigurationError):
        known.get("rot13")


@pytest.mark.parametrize(
    "bad",
    [
        Rot13(name="json"),
        Rot13(content_type="application/json"),
        Rot13(name="ROT13"),
        Rot13(name=""),
        Rot13(content_type="application/x-rot13; charset=utf-8"),
        Rot13(content_type=""),
        Rot13(content_type="application"),
        Rot13(content_type="/x-rot13"),
        Rot13(content_type="application/"),
        Rot13(content_type="application/x/rot13"),
        Rot13(content_type="application/x rot13"),
        Rot13(content_type="application/x-rot13\n"),
        Rot13(content_type="application/x-r\u00f6t13"),
        Rot13(content_type="application/X-rot13"),
        Rot13(content_type="application/" + "x" * 189),
        object(),
    ],
)
def test_a_plugin_cannot_bring_a_bad_serializer_or_take_a_name(bad: Serializer) -> None:
    registry = SerializerRegistry()
    with pytest.raises(PluginError):
        registry.add(bad)
    assert len(list(registry)) == len(NAMES)


@pytest.mark.parametrize("content_type", ["a/b", "application/vnd.my-own.1+json", "x!#$&^_/y", "a/" + "b" * 198])
def test_any_media_type_will_do(content_type: str) -> None:
    own = Rot13(content_type=content_type)
    registry = SerializerRegistry()
    registry.add(own)
    assert AcceptList(own, known=registry).find(content_type.upper()) is own


def test_pickle_is_not_accepted_unless_it_was_named() -> None:
    assert [serializer.name for serializer in AcceptList()] == ["msgpack", "json"]
    assert [serializer.name for serializer in AcceptList("pickle")] == ["pickle", "msgpack", "json"]
    assert [serializer.name for serializer in AcceptList("json", ["cloudpickle"])] == ["json", "cloudpickle"]
    assert [serializer.name for serializer in AcceptList("json", "pickle")] == ["json", "pickle"]


def test_content_types_are_compared_without_case_and_parameters() -> None:
    accepted = AcceptList("msgpack")
    assert accepted.find("Application/JSON ; charset=utf-8").name == "json"
    assert "application/json" in accepted
    assert "application/jsonx" not in accepted
    assert "application/x-python-pickle" not in accepted
    assert 7 not in accepted


@pytest.mark.parametrize("missing", [None, "", " ", ";"])
def test_a_missing_content_type_means_the_own_serializer(missing: str | None) -> None:
    assert AcceptList("json").find(missing).name == "json"
    assert missing in AcceptList("json")


def test_a_refusal_names_the_type_and_what_is_accepted() -> None:
    with pytest.raises(ContentRejectedError, match=r"x-python-pickle' is not accepted here \(accepted: app") as caught:
        AcceptList().find("application/x-python-pickle")
    assert "accept" in str(caught.value)
    with pytest.raises(ContentRejectedError) as caught:
        AcceptList().find("x" * 100_000)
    assert len(str(caught.value)) < 400


def test_two_serializers_cannot_share_an_accepted_content_type() -> None:
    own = Rot13(content_type="application/json")
    with pytest.raises(ConfigurationError, match="share the content type"):
        AcceptList(own, ["json"])
    assert AcceptList(own).find("application/json") is own
