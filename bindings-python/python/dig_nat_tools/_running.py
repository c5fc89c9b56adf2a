"""How a native operation becomes an ``await`` or a blocking call, and the life of the engine in this process.

Cancelling the awaiting task cancels the work, and the await ends when the work has ended, so that whatever follows
finds files and ports free.
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import inspect
import os
from collections.abc import Callable
from typing import Any, TypeVar

from . import _native
from .errors import DigNatError, DigNatTimeoutError
from .records import Progress, progress

_T = TypeVar("_T")

OnProgress = Callable[[Progress], object]

CANCEL_GRACE = 5.0
"""Seconds that cancelled work gets to clean up before its caller goes on without it."""

# Threads that outlive the interpreter crash it; nodes that nobody stopped get a chance to say goodbye.
atexit.register(_native.shutdown)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_native.forget_after_fork)


def version() -> str:
    """The version of the engine, which is the version of this package."""
    return str(_native.manifest()["version"])


def check_progress(on_progress: OnProgress | None) -> None:
    """Refuses functions whose call would do nothing."""
    if on_progress is None:
        return
    if not callable(on_progress):
        raise TypeError(f"on_progress must be callable, not {type(on_progress).__name__}")
    if inspect.iscoroutinefunction(on_progress):
        raise TypeError("on_progress must be a plain function; it may create tasks")


async def run(
    operation: _native.Operation[_T],
    on_progress: OnProgress | None = None,
    on_unread: Callable[[_T], object] | None = None,
) -> _T:
    """Awaits an operation on the running loop.

    ``on_unread`` gets a result that arrived when the task was already cancelled, so that it is not lost.
    """
    loop = asyncio.get_running_loop()
    context = contextvars.copy_context()
    ended = asyncio.Event()
    failure: Exception | None = None
    listening = on_progress is not None

    def step() -> None:  # on the loop's thread
        nonlocal failure, listening
        over, reports = operation.poll()
        try:
            for report in reports:
                if listening and on_progress is not None:
                    on_progress(progress(report))
        except Exception as error:
            listening = False
            failure = error
            operation.cancel()
        finally:
            if over:
                ended.set()

    def notify() -> None:  # on the engine's thread
        try:
            loop.call_soon_threadsafe(step, context=context)
        except RuntimeError:
            pass  # The loop is closed: nobody waits any more.

    operation.set_notify(notify)
    try:
        await ended.wait()
    except asyncio.CancelledError:
        listening = False
        operation.cancel()
        try:
            await asyncio.wait_for(ended.wait(), CANCEL_GRACE)
        except asyncio.TimeoutError:
            raise asyncio.CancelledError() from None
        if on_unread is not None:
            try:
                on_unread(operation.result())
            except DigNatError:
                pass  # The usual case: it was cancelled, there is nothing to keep.
        raise
    if failure is not None:
        raise failure
    return operation.result()


def run_blocking(
    operation: _native.Operation[_T],
    on_progress: OnProgress | None = None,
    on_unread: Callable[[_T], object] | None = None,
    timeout: float | None = None,
) -> _T:
    """Waits for an operation without the GIL. Ctrl-C, the timeout and a failing callback cancel it."""
    try:
        while True:
            news = operation.wait(timeout)
            over, reports = operation.poll()
            if on_progress is not None:
                for report in reports:
                    on_progress(progress(report))
            if over:
                break
            if not news:
                raise DigNatTimeoutError(f"nothing within {timeout} seconds")
    except BaseException:
        _end(operation, on_unread)
        raise
    return operation.result()


def _end(operation: _native.Operation[_T], on_unread: Callable[[_T], object] | None) -> None:
    operation.cancel()
    over = False
    while not over and operation.wait(CANCEL_GRACE):
        over, _ = operation.poll()
    if over and on_unread is not None:
        try:
            on_unread(operation.result())
        except DigNatError:
            pass  # The usual case: it was cancelled, there is nothing to keep.


def as_bytes(data: Any) -> bytes:
    """Whatever has the buffer protocol, as bytes."""
    return data if isinstance(data, bytes) else memoryview(data).tobytes()
