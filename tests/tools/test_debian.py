from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rabibridge_testing._servers.private import SERVER_VARIABLE
from tools import debian
from tools.broker import BrokerError, PrivateNode

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("file", "text", "mirror"),
    [
        ("a.list", "deb https://mirror.example/debian bookworm main\n", "https://mirror.example/debian"),
        ("a.list", "deb [arch=amd64 signed-by=/k] http://one.example/debian/ sid main\n", "http://one.example/debian/"),
        ("a.sources", "Types: deb\nURIs: http://two.example/debian\nSuites: x\n", "http://two.example/debian"),
        (
            "a.sources",
            "URIs: http://s.example/debian-security\n\nURIs: http://m.example/debian\n",
            "http://m.example/debian",
        ),
    ],
)
def test_the_mirror_that_apt_uses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, text: str, mirror: str
) -> None:
    monkeypatch.delenv(debian.MIRROR_VARIABLE, raising=False)
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text("# deb http://old.example/debian bookworm main\n")
    (tmp_path / "sources.list.d" / file).write_text(text)
    assert debian.mirror(tmp_path) == mirror


def test_no_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(debian.MIRROR_VARIABLE, raising=False)
    (tmp_path / "sources.list").write_text("deb http://archive.example/ubuntu noble main\n")
    with pytest.raises(debian.ImpossibleError, match=debian.MIRROR_VARIABLE):
        debian.mirror(tmp_path)
    monkeypatch.setenv(debian.MIRROR_VARIABLE, "http://given.example/debian")
    assert debian.mirror(tmp_path) == "http://given.example/debian"


def test_a_server_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SERVER_VARIABLE, str(tmp_path / "rabbitmq-server"))
    with pytest.raises(BrokerError, match=SERVER_VARIABLE):
        PrivateNode()
