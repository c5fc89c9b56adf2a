"""Where the function behind ``file_callback`` runs: on the event loop of the host, or on threads for blocking hosts."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Union

from . import _native
from ._running import as_bytes
from .records import CallbackRequest, build

Chunks = Union[Iterable[bytes], None]

FileCallback = Callable[[CallbackRequest], Chunks]
"""Returns chunks from ``request.start_chunk`` on, or ``None`` behind the end and for unknown content."""

AsyncFileCallback = Callable[[CallbackRequest], Union[Chunks, Awaitable[Chunks]]]
"""The same as ``async def`` or plain function; it runs on the event loop."""

_THREADS = 4
"""Requests that a blocking host answers at once; as many as core serves peers by default."""


class OnLoop:
    """Hands requests to a function on an event loop."""

    def __init__(self, function: AsyncFileCallback, loop: asyncio.AbstractEventLoop) -> None:
        self._function = function
        self._loop = loop
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, raw: Mapping[str, Any], reply: _native.Reply) -> None:  # on the engine's thread
        try:
            self._loop.call_soon_threadsafe(self._start, build(CallbackRequest, raw), reply)
        except RuntimeError:
            reply.send(None)  # The loop is closed.

    def _start(self, request: CallbackRequest, reply: _native.Reply) -> None:
        task = self._loop.create_task(self._answer(request, reply))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, request: CallbackRequest, reply: _native.Reply) -> None:
        chunks: list[bytes] | None = None
        try:
            result = self._function(request)
            if inspect.isawaitable(result):
                result = await result
            chunks = _chunks(result)
        except Exception as error:
            self._loop.call_exception_handler(
                {"message": f"file_callback failed for {request.content_id!r}", "exception": error}
            )
        finally:
            reply.send(chunks)


class OnThreads:
    """Hands requests to a function on a few threads."""

    def __init__(self, function: FileCallback) -> None:
        self._function = function
        self._pool = concurrent.futures.ThreadPoolExecutor(_THREADS, "dig-nat-callback")

    def __call__(self, raw: Mapping[str, Any], reply: _native.Reply) -> None:  # on the engine's thread
        try:
            self._pool.submit(self._answer, build(CallbackRequest, raw), reply)
        except RuntimeError:
            reply.send(None)  # The interpreter is exiting, or the host has been stopped.

    def close(self) -> None:
        """Takes no more requests."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _answer(self, request: CallbackRequest, reply: _native.Reply) -> None:
        chunks: list[bytes] | None = None
        try:
            chunks = _chunks(self._function(request))
        except Exception:
            # As for any exception that ends a thread.
            threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
        finally:
            reply.send(chunks)


def _chunks(result: Any) -> list[bytes] | None:
    return None if result is None else [as_bytes(chunk) for chunk in result]
