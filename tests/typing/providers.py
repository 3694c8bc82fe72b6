"""Checked by mypy and pyright, both in strict mode, never run: providers, and callers of functions that use them."""

# pyright: strict

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated, assert_type

from rabibridge import Depends, RMQClient, RMQServer, ServiceSchema, register_call, service

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator

    from rabibridge.sync import Client


class Pool:
    size: int = 1


class Session:
    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    def close(self) -> None: ...


async def coroutine() -> Session:
    return Session(Pool())


def plain() -> Session:
    return Session(Pool())


async def asynchronous(pool: Pool = Depends(Pool, scope="process")) -> AsyncIterator[Session]:
    yield Session(pool)


async def generator() -> AsyncGenerator[Session]:
    yield Session(Pool())


def synchronous() -> Iterator[Session]:
    yield Session(Pool())


def sync_generator() -> Generator[Session, None, None]:
    yield Session(Pool())


@asynccontextmanager
async def async_manager() -> AsyncGenerator[Session]:
    yield Session(Pool())


@contextmanager
def manager() -> Generator[Session]:
    yield Session(Pool())


def of_size(size: int) -> Session:
    return Session(Pool())


def a_mark_has_the_type_of_what_its_provider_gives() -> None:
    assert_type(Depends(coroutine), Session)
    assert_type(Depends(plain), Session)
    assert_type(Depends(asynchronous), Session)
    assert_type(Depends(generator), Session)
    assert_type(Depends(synchronous), Session)
    assert_type(Depends(sync_generator), Session)
    assert_type(Depends(async_manager), Session)
    assert_type(Depends(manager), Session)
    assert_type(Depends(partial(of_size, 5)), Session)
    assert_type(Depends(lambda: 5), int)
    assert_type(Depends(Pool, scope="process", use_cache=False, cleanup_timeout=1.5), Pool)


@register_call(queue_size=10)
async def order(
    article: str,
    count: int = 1,
    db: Session = Depends(asynchronous),
    pool: Pool = Depends(),  # from the lifespan
    *,
    user: Annotated[str, Depends(coroutine)] = "",  # checkers see no relation: the default is for local calls
) -> int:
    return count * db.pool.size * pool.size * len(user)


@service
class Shop:
    async def left(self, article: str, db: Session = Depends(plain)) -> int:
        return db.pool.size


async def callers_leave_out_what_the_server_fills_in(client: RMQClient, sync: Client) -> None:
    assert_type(await client.call(order, "lamp"), int)
    assert_type(await client.call(order, "lamp", count=2), int)
    assert_type(await client.stub(order, timeout=2.0)("lamp", 2), int)
    assert_type(await client.service(Shop).left("lamp"), int)
    assert_type(sync.call(order, "lamp", 2), int)
    assert_type(await order("lamp", 2, Session(Pool()), Pool()), int)  # a unit test gives them
    await client.call(order)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]
    await client.stub(order)(2)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


@register_call
async def annotated(article: str, *, db: Annotated[Session, Depends(plain)]) -> str:
    return article


async def without_a_default_checkers_ask_for_it(client: RMQClient) -> None:
    assert_type(await annotated("lamp", db=Session(Pool())), str)
    await client.call(annotated, "lamp")  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]


def wrong_providers_are_errors() -> None:
    async def of_another_type(pool: Pool = Depends(plain)) -> None:  # type: ignore[assignment] # pyright: ignore[reportArgumentType]
        del pool

    async def of_generators(pool: Pool = Depends(asynchronous)) -> None:  # type: ignore[assignment] # pyright: ignore[reportArgumentType]
        del pool

    del of_another_type, of_generators
    Depends(5)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]
    Depends(Session(Pool()))  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]
    Depends(plain, scope="thread")  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]
    Depends(plain, cleanup="1")  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]


@asynccontextmanager
async def lifespan(server: RMQServer) -> AsyncGenerator[tuple[Pool, Session]]:
    yield Pool(), Session(Pool())


@asynccontextmanager
async def lifespan_of_nothing(server: RMQServer) -> AsyncGenerator[None]:
    assert_type(server.add_service(order), ServiceSchema)
    yield


def servers_take_a_lifespan() -> None:
    RMQServer(lifespan=lifespan)
    RMQServer(lifespan=lifespan_of_nothing)
    RMQServer(lifespan=Pool)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    with RMQServer().override(plain, lambda: Session(Pool())):
        ...
