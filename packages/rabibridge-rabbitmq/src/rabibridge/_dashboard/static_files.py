"""The files of the page. They are few and small, so they are read once and served from memory."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from starlette.responses import PlainTextResponse, Response

__all__ = ["page", "static_file"]

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@cache
def _files() -> dict[str, tuple[bytes, str]]:
    folder = files("rabibridge._dashboard").joinpath("static")
    return {
        file.name: (file.read_bytes(), kind)
        for file in folder.iterdir()
        for ending, kind in _TYPES.items()
        if file.name.endswith(ending)
    }


def page() -> Response:
    """Return the page."""
    return static_file("index.html")


def static_file(name: str) -> Response:
    """Return one file of the page; 404 for any other name."""
    found = _files().get(name)
    if found is None:
        return PlainTextResponse("There is no such file.\n", 404)
    content, kind = found
    return Response(content, media_type=kind)
