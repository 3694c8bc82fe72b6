"""The page that asks for the token. It has no script, and holds nothing from the request."""

from __future__ import annotations

from html import escape

from starlette.responses import HTMLResponse

__all__ = ["login_page"]

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>RabiBridge dashboard</title>
</head>
<body>
<h1>RabiBridge dashboard</h1>
<p>{notice}</p>
<form method="get" action="{here}" autocomplete="off">
<label>Token <input type="password" name="token" autofocus required></label>
<button>Open</button>
</form>
</body>
</html>
"""


def login_page(here: str, *, refused: bool) -> HTMLResponse:
    """Return the page that asks for the token.

    Args:
        here: the path of the dashboard.
        refused: whether a token was given that is not the right one.
    """
    notice = (
        "That is not the token of this dashboard."
        if refused
        else "This dashboard wants the token that it printed at its start."
    )
    return HTMLResponse(_PAGE.format(notice=notice, here=escape(here, quote=True)), 401)
