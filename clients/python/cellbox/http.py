"""The two drivers: how calls are sent, repeated and read with httpx, blocking and asynchronously."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import aclosing, asynccontextmanager, closing, contextmanager
from typing import Any, Protocol, TypeVar

import httpx

from .calls import Call, Operation
from .errors import CellboxError, ConnectionError, SandboxNotFoundError, error_from_body
from .events import Event, EventSource
from .feeding import AsyncFeeding, Feeding
from .retry import Retry, may_repeat

T = TypeVar("T")
Made = TypeVar("Made", covariant=True)
_TIMEOUT = httpx.Timeout(150.0, connect=10.0, pool=None)  # streams are never silent for more than 15 s
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=20)


class Collector(Protocol[Made]):
    """Takes events one by one; result() is what they amount to."""

    def take(self, event: Event) -> object: ...

    def result(self) -> Made: ...


class Settings:
    """Where the server is, and how to talk to it."""

    def __init__(self, url: str | None, token: str | None, retry: Retry | None) -> None:
        self.url = (url or os.environ.get("CELLBOX_URL") or "http://127.0.0.1:8888").rstrip("/")
        self.token = token if token is not None else os.environ.get("CELLBOX_TOKEN")
        self.retry = retry or Retry()

    def headers(self) -> dict[str, str]:
        """Of every call."""
        return {"Authorization": f"Bearer {self.token}"} if self.token is not None else {}

    def request(self, call: Call) -> dict[str, Any]:
        """Arguments of httpx for a call."""
        members: dict[str, Any] = {
            "method": call.method,
            "url": self.url + call.address(),
            "headers": dict(call.headers),
        }
        if call.json is not None:
            members["json"] = call.json
        elif call.content is not None:
            members["content"] = call.content
        return members

    def pause(self, call: Call, attempt: int, error: CellboxError) -> float:
        """Seconds until the call is sent again; raises where it must not be."""
        if attempt > self.retry.retries or call.one_way or not may_repeat(error, call.idempotent):
            raise error
        return self.retry.pause(attempt, error.details.get("retryAfter"))


def _failed(response: httpx.Response) -> bool:
    return not response.is_success and response.status_code != 304


def _refusal(response: httpx.Response) -> CellboxError:
    """The error of an answer whose body has been read."""
    error = error_from_body(response.status_code, response.content)
    if "retry-after" in response.headers:
        error.details.setdefault("retryAfter", response.headers["retry-after"])
    return error


def _broken(error: httpx.TransportError) -> ConnectionError:
    return ConnectionError(
        f"the connection failed: {error or type(error).__name__}", isinstance(error, httpx.ConnectError)
    )


class Driver:
    """Blocking."""

    def __init__(self, settings: Settings, client: httpx.Client | None = None) -> None:
        self.settings = settings
        self._own = client is None
        self._client = client or httpx.Client(timeout=_TIMEOUT, limits=_LIMITS)

    def close(self) -> None:
        if self._own:
            self._client.close()

    @contextmanager
    def _send(self, call: Call) -> Iterator[httpx.Response]:
        """One attempt; the body is unread unless it is an error's."""
        request = self._client.build_request(**self.settings.request(call))
        request.headers.update(self.settings.headers())
        try:
            response = self._client.send(request, stream=True)
            try:
                if _failed(response):
                    response.read()
                    raise _refusal(response)
                yield response
            finally:
                response.close()
        except httpx.TransportError as e:
            raise _broken(e) from e

    @contextmanager
    def open(self, call: Call) -> Iterator[httpx.Response]:
        """An answer whose body is to be streamed; the call is repeated until there is one."""
        attempt = 1
        while True:
            sent = self._send(call)
            try:
                response = sent.__enter__()
                break
            except CellboxError as e:
                time.sleep(self.settings.pause(call, attempt, e))
            attempt += 1
        try:
            yield response
        except BaseException as e:
            if not sent.__exit__(type(e), e, e.__traceback__):
                raise
        else:
            sent.__exit__(None, None, None)

    def fetch(self, call: Call) -> bytes:
        """The body of an answer."""
        attempt = 1
        while True:
            try:
                with self._send(call) as response:
                    return response.read()
            except CellboxError as e:
                time.sleep(self.settings.pause(call, attempt, e))
            attempt += 1

    def run(self, operation: Operation[T]) -> T:
        """Drives an operation to its end."""
        try:
            call = next(operation)
            while True:
                try:
                    answer = self.fetch(call)
                except CellboxError as e:
                    call = operation.throw(e)
                else:
                    call = operation.send(answer)
        except StopIteration as end:
            return end.value

    def events(self, source: EventSource) -> Generator[Event, None, None]:
        """Events of a source, over as many connections as it takes."""
        self.run(source.box.prepared())
        made = False
        feeding: Feeding | None = None
        while True:
            error: CellboxError = source.ended()
            try:
                with self.open(source.call()) as response:
                    for piece in response.iter_bytes():
                        for event in source.feed(piece):
                            if call := source.beside(event):
                                feeding = Feeding(self.fetch, call, response)
                            yield event
                        if source.finished:
                            return
            except SandboxNotFoundError:
                if made or source.seen:
                    raise
                made = True
                self.run(source.box.make())
                continue
            except CellboxError as e:
                error = e
            finally:
                if feeding:
                    feeding.stop()
            if feeding and feeding.failure:
                raise feeding.failure
            time.sleep(source.broken(error, self.settings.retry))

    def collect(self, source: EventSource, collector: Collector[T]) -> T:
        """Hands every event over, and closes the stream whatever becomes of that."""
        with closing(self.events(source)) as events:
            for event in events:
                collector.take(event)
        return collector.result()


class AsyncDriver:
    """Asynchronous; the same steps as Driver."""

    def __init__(self, settings: Settings, client: httpx.AsyncClient | None = None) -> None:
        self.settings = settings
        self._own = client is None
        self._client = client or httpx.AsyncClient(timeout=_TIMEOUT, limits=_LIMITS)

    async def close(self) -> None:
        if self._own:
            await self._client.aclose()

    @asynccontextmanager
    async def _send(self, call: Call) -> AsyncIterator[httpx.Response]:
        request = self._client.build_request(**self.settings.request(call))
        request.headers.update(self.settings.headers())
        try:
            response = await self._client.send(request, stream=True)
            try:
                if _failed(response):
                    await response.aread()
                    raise _refusal(response)
                yield response
            finally:
                await response.aclose()
        except httpx.TransportError as e:
            raise _broken(e) from e

    @asynccontextmanager
    async def open(self, call: Call) -> AsyncIterator[httpx.Response]:
        attempt = 1
        while True:
            sent = self._send(call)
            try:
                response = await sent.__aenter__()
                break
            except CellboxError as e:
                await asyncio.sleep(self.settings.pause(call, attempt, e))
            attempt += 1
        try:
            yield response
        except BaseException as e:
            if not await sent.__aexit__(type(e), e, e.__traceback__):
                raise
        else:
            await sent.__aexit__(None, None, None)

    async def fetch(self, call: Call) -> bytes:
        attempt = 1
        while True:
            try:
                async with self._send(call) as response:
                    return await response.aread()
            except CellboxError as e:
                await asyncio.sleep(self.settings.pause(call, attempt, e))
            attempt += 1

    async def run(self, operation: Operation[T]) -> T:
        try:
            call = next(operation)
            while True:
                try:
                    answer = await self.fetch(call)
                except CellboxError as e:
                    call = operation.throw(e)
                else:
                    call = operation.send(answer)
        except StopIteration as end:
            return end.value

    async def events(self, source: EventSource) -> AsyncGenerator[Event, None]:
        await self.run(source.box.prepared())
        made = False
        feeding: AsyncFeeding | None = None
        while True:
            error: CellboxError = source.ended()
            try:
                async with self.open(source.call()) as response:
                    async for piece in response.aiter_bytes():
                        for event in source.feed(piece):
                            if call := source.beside(event):
                                feeding = AsyncFeeding(self.fetch, call, response)
                            yield event
                        if source.finished:
                            return
            except SandboxNotFoundError:
                if made or source.seen:
                    raise
                made = True
                await self.run(source.box.make())
                continue
            except CellboxError as e:
                error = e
            finally:
                if feeding:
                    await feeding.stop()
            if feeding and feeding.failure:
                raise feeding.failure
            await asyncio.sleep(source.broken(error, self.settings.retry))

    async def collect(self, source: EventSource, collector: Collector[T]) -> T:
        async with aclosing(self.events(source)) as events:
            async for event in events:
                collector.take(event)
        return collector.result()
