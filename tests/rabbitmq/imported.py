"""A module whose registered function others import."""

from __future__ import annotations

from rabibridge import register_call


@register_call
async def imported() -> str:
    return "imported"
