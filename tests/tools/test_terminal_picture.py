"""The picture of terminals: what was on the screen is shown for as long as it was there."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

pytest.importorskip("pyte")

from tools.terminal_svg import Event, Recording, draw

_SVG = "{http://www.w3.org/2000/svg}"


def _drawn(*events: tuple[float, str]) -> tuple[dict[str, ET.Element], str]:
    """Return the texts of a recording of ten seconds, and its style sheet."""
    recording = Recording([Event(at, "one", text) for at, text in events], 10.0, ("one",), 40, 5)
    root = ET.fromstring(draw(recording))
    style = root.find(f"{_SVG}style")
    assert style is not None
    return {text.text or "": text for text in root.iter(f"{_SVG}text")}, style.text or ""


def _times(element: ET.Element, style: str) -> list[tuple[str, str]]:
    """Return the steps of an animation: per cent of the time, and whether it is seen."""
    name = re.findall(r"animation-name:(\w+)", element.get("style", ""))
    if not name:
        return []
    (rule,) = re.findall(rf"@keyframes {name[0]}{{(.*)}}\n", style)
    return re.findall(r"([\d.]+)%{visibility:(\w+)}", rule)


def test_a_line_that_is_typed_keeps_what_it_had() -> None:
    texts, style = _drawn((0.0, "$ l"), (1.0, "s"), (2.0, "x"))
    assert _times(texts["$ l"], style) == []
    assert _times(texts["s"], style) == [("0.000", "hidden"), ("10.000", "visible")]
    assert _times(texts["x"], style) == [("0.000", "hidden"), ("20.000", "visible")]
    assert texts["x"].get("x") != texts["s"].get("x")


def test_a_line_that_changes_is_shown_anew_even_where_letters_are_the_same() -> None:
    texts, _ = _drawn((0.0, "abc"), (1.0, "\rxbcd"))
    assert {"abc", "xbcd"} <= set(texts)


def test_what_is_cleared_disappears() -> None:
    texts, style = _drawn((0.0, "before"), (5.0, "\x1b[2J\x1b[Hafter"))
    assert _times(texts["before"], style) == [("0.000", "visible"), ("50.000", "hidden")]
    assert _times(texts["after"], style) == [("0.000", "hidden"), ("50.000", "visible")]


def test_lines_that_scroll_are_where_they_are() -> None:
    texts, _ = _drawn((0.0, "".join(f"line {number}\r\n" for number in range(6))))
    rows = [float(texts[f"line {number}"].get("y", "0")) for number in range(2, 6)]
    assert rows == sorted(rows)
    assert "line 0" not in texts


def test_text_of_programs_is_data() -> None:
    texts, _ = _drawn((0.0, "\x1b[31m<script>&\x1b[0m plain"))
    assert {"<script>& ", "plain"} <= set(texts)
    assert texts["<script>& "].get("fill") != texts["plain"].get("fill")
