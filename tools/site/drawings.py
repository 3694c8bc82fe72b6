"""The drawings of docs/concepts.md: ``python -m tools.site.drawings`` writes them."""

from __future__ import annotations

from html import escape
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "docs/concepts"

_CLIENT, _BROKER, _WORKER, _BAD, _LINE = "#2563a8", "#b8860b", "#2e8b57", "#b03030", "#444444"


class Drawing:
    """Boxes, arrows and words on a light ground."""

    def __init__(self, title: str, width: int, height: int) -> None:
        """Begin a drawing of this size, in pixels."""
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
            'font-family="sans-serif" font-size="13" role="img">',
            f"<title>{escape(title)}</title>",
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
            f'orient="auto"><path d="M0 0L8 4L0 8z" fill="{_LINE}"/></marker></defs>',
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        ]

    def box(self, x: int, y: int, width: int, height: int, text: str, colour: str, *, filled: bool = False) -> None:
        """Draw a box with one or more lines of text."""
        fill = colour if filled else "#ffffff"
        self._parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="{fill}" stroke="{colour}" '
            'stroke-width="1.5"/>'
        )
        lines = text.split("\n")
        top = y + height / 2 + 4.5 - 8.5 * (len(lines) - 1)
        for number, line in enumerate(lines):
            self.text(x + width // 2, round(top + 17 * number), line, "#ffffff" if filled else colour, "middle")

    def text(self, x: int, y: int, text: str, colour: str = "#222222", anchor: str = "start") -> None:
        """Write a line of text."""
        if text:
            self._parts.append(f'<text x="{x}" y="{y}" fill="{colour}" text-anchor="{anchor}">{escape(text)}</text>')

    def arrow(self, points: list[tuple[int, int]], text: str = "", *, dashed: bool = False, above: bool = True) -> None:
        """Draw an arrow through these points, with a text at the middle of its first part."""
        path = "M" + "L".join(f"{x} {y}" for x, y in points)
        dashes = ' stroke-dasharray="5 4"' if dashed else ""
        self._parts.append(
            f'<path d="{path}" fill="none" stroke="{_LINE}" stroke-width="1.5" marker-end="url(#head)"{dashes}/>'
        )
        (x, y), (to_x, to_y) = points[:2]
        self.text((x + to_x) // 2, (y + to_y) // 2 + (-7 if above else 17), text, "#222222", "middle")

    def queue(self, x: int, y: int, places: int, full: int, label: str) -> None:
        """Draw a queue with ``places`` places, ``full`` of them taken."""
        for place in range(places):
            taken = place >= places - full
            self.box(x + 24 * place, y, 20, 30, "", _BROKER, filled=taken)
        self.text(x, y + 48, label, _BROKER)

    def svg(self) -> str:
        """Return the drawing."""
        return "\n".join([*self._parts, "</svg>", ""])


def call() -> Drawing:
    """Draw the way of one call."""
    drawing = Drawing("The life of a call", 840, 250)
    drawing.box(20, 70, 130, 110, "client", _CLIENT)
    drawing.box(290, 20, 230, 210, "", _BROKER)
    drawing.text(405, 40, "broker", _BROKER, "middle")
    drawing.box(690, 70, 130, 110, "worker", _WORKER)
    drawing.queue(310, 62, 8, 3, "queue of the service: queue_size")
    drawing.queue(310, 152, 8, 1, "queue of replies of this client")
    drawing.arrow([(150, 88), (300, 78)], "1 request")
    drawing.arrow([(290, 122), (154, 122)], "confirmed, or refused", dashed=True)
    drawing.arrow([(510, 78), (686, 88)], "2 at most fetch_size")
    drawing.text(755, 205, "3 runs the handler", _WORKER, "middle")
    drawing.arrow([(690, 140), (514, 166)], "4 reply", above=False)
    drawing.arrow([(690, 114), (524, 114)], "then acknowledges", dashed=True)
    drawing.arrow([(300, 166), (154, 158)], "5 result", above=False)
    return drawing


def overload() -> Drawing:
    """Draw the limits of a service."""
    drawing = Drawing("A service under overload", 840, 220)
    drawing.box(20, 60, 130, 90, "20 calls\nat once", _CLIENT)
    drawing.queue(300, 88, 8, 8, "queue_size=8: they wait")
    drawing.box(620, 55, 200, 100, "", _WORKER)
    drawing.text(720, 76, "worker", _WORKER, "middle")
    for place in range(4):
        drawing.box(640 + 42 * place, 92, 34, 30, "", _WORKER, filled=True)
    drawing.text(720, 143, "fetch_size=4: they run", _WORKER, "middle")
    drawing.arrow([(150, 103), (294, 103)], "12 are queued")
    drawing.arrow([(494, 103), (616, 103)])
    drawing.arrow([(394, 84), (394, 32), (85, 32), (85, 56)], dashed=True)
    drawing.text(240, 24, "8 are refused at once: QueueFullError", _BAD, "middle")
    drawing.text(420, 200, "The backend never sees more than fetch_size requests of each worker.", "#222222", "middle")
    return drawing


def failure() -> Drawing:
    """Draw the death of a worker."""
    drawing = Drawing("A worker dies", 840, 240)
    drawing.box(20, 80, 120, 80, "client", _CLIENT)
    drawing.queue(300, 105, 8, 2, "kept until acknowledged")
    drawing.box(670, 20, 150, 60, "worker A dies", _BAD)
    drawing.box(670, 160, 150, 60, "worker B", _WORKER)
    drawing.arrow([(140, 120), (294, 120)], "request")
    drawing.arrow([(494, 112), (664, 52)], "1 delivered")
    drawing.arrow([(494, 128), (664, 186)], "", above=False)
    drawing.text(650, 135, "2 delivered again", "#222222", "middle")
    drawing.arrow([(670, 205), (80, 205), (80, 164)])
    drawing.text(330, 222, "3 one reply", "#222222", "middle")
    return drawing


def stream() -> Drawing:
    """Draw the credit of a stream."""
    drawing = Drawing("A stream", 840, 200)
    drawing.box(20, 50, 150, 100, "caller\nasync for row in …", _CLIENT)
    drawing.box(670, 50, 150, 100, "worker\nyield row", _WORKER)
    for place in range(5):
        drawing.box(330 + 44 * place, 58, 34, 26, str(place + 1), _WORKER, filled=True)
    drawing.arrow([(668, 100), (176, 100)], "items, in order", above=False)
    drawing.arrow([(170, 138), (664, 138)], "credit: so many more", above=False)
    return drawing


def main() -> None:
    """Write the drawings."""
    FOLDER.mkdir(exist_ok=True)
    for drawn in (call, overload, failure, stream):
        (FOLDER / f"{drawn.__name__}.svg").write_text(drawn().svg(), encoding="utf-8")


if __name__ == "__main__":
    main()
