"""Renders documents page by page, one document at a time in each worker: ``rabibridge run render_service.py``."""

from __future__ import annotations

import asyncio
import os

from rabibridge import current_call, register_call

SECONDS_A_PAGE = 0.1
counted = {"finished": 0, "cancelled": 0}


@register_call(queue_size=1, fetch_size=1)
async def render(pages: int) -> str:
    try:
        for page in range(pages):
            current_call().progress(page / pages, f"page {page + 1} of {pages}")
            await asyncio.sleep(SECONDS_A_PAGE)
    except asyncio.CancelledError:
        counted["cancelled"] += 1
        raise
    counted["finished"] += 1
    return f"{pages} pages by process {os.getpid()}"


@register_call
async def render_counts() -> dict[str, int]:
    return {"pid": os.getpid(), **counted}
