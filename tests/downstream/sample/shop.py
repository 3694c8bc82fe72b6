"""The code of the sample project, which asks a service for prices, with a client that is made at import."""

from __future__ import annotations

from rabibridge import QueueFullError, RMQClient, register_call

client = RMQClient(url="amqp://guest:guest@nowhere.invalid")


@register_call
async def price(article: str) -> float:
    """Return the price of one article."""
    raise NotImplementedError(article)


async def total(*articles: str) -> float | None:
    """Return the price of all articles; ``None``: the service is busy."""
    try:
        return sum([await client.call(price, article) for article in articles])
    except QueueFullError:
        return None
