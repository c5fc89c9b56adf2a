"""What hosts, clients, managers and discovery have in common for ``asyncio``: start, stop and events.

Not here: what they do, which is :mod:`dig_nat_tools.aio`.
"""

from __future__ import annotations

import contextlib
import warnings
from collections import deque
from collections.abc import AsyncIterator, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Union

from . import _native, records
from ._running import run
from .errors import DigNatError
from .events import Event, StoppedEvent, event
from .records import NatProfile

if TYPE_CHECKING:
    from typing_extensions import Self

AnyStarted = TypeVar(
    "AnyStarted",
    bound=Union[_native.FileHost, _native.FileClient, _native.NetworkManager, _native.PeerDiscoveryManager],
)
AnyNode = TypeVar("AnyNode", bound=Union[_native.FileHost, _native.FileClient, _native.NetworkManager])


class EventStream(AsyncIterator[Event]):
    """The events of one node since the subscription. Ends after :class:`~dig_nat_tools.events.StoppedEvent`."""

    def __init__(self, native: _native.EventStream) -> None:
        self._native: _native.EventStream | None = native
        self._unread: deque[dict[str, Any] | None] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if self._unread:
            raw = self._unread.popleft()
        elif self._native is not None:
            raw = await run(self._native.next(), on_unread=self._unread.append)
        else:
            raise StopAsyncIteration
        if raw is None:
            self._native = None
            raise StopAsyncIteration
        result = event(raw)
        if isinstance(result, StoppedEvent):
            self._native = None
        return result

    async def aclose(self) -> None:
        """Unsubscribes. Leaving the stream to the garbage collector does the same."""
        self._native = None
        self._unread.clear()


class Started(Generic[AnyStarted]):
    """What can be started and stopped."""

    def __init__(self, native: AnyStarted) -> None:
        self._native = native

    async def start(self) -> None:
        """Opens the port and starts discovery. A second call does nothing."""
        was_running = self._native.is_running()
        try:
            await run(self._native.start())
        except BaseException:
            # Cancelled half-way, or just when it was done: the caller counts on nothing having been started.
            if not was_running:
                with contextlib.suppress(DigNatError):
                    await run(self._native.stop())
            raise

    async def stop(self) -> None:
        """Cancels what runs, closes all connections, frees the port. A second call does nothing."""
        await run(self._native.stop())

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def __await__(self) -> Generator[Any, None, Self]:
        return self._started().__await__()

    async def _started(self) -> Self:
        await self.start()
        return self

    def __del__(self) -> None:
        native = getattr(self, "_native", None)
        if native is not None and native.is_running():
            warnings.warn(f"{type(self).__name__} was not stopped", ResourceWarning, source=self, stacklevel=2)

    @property
    def port(self) -> int:
        """The bound port, 0 before the start."""
        return self._native.port()

    @property
    def peer_id(self) -> str | None:
        """The identity on the network, ``None`` before the start."""
        return self._native.peer_id()

    def add_content_mapping(self, content_id: str, hash: str) -> None:
        """Gives a hash a readable id."""
        self._native.add_content_mapping(content_id, hash)

    def hash_for_content(self, content_id: str) -> str | None:
        """The hash behind a readable id, as far as known here."""
        return self._native.hash_for_content(content_id)

    def events(self) -> EventStream:
        """Subscribes to events, from now on."""
        return EventStream(self._native.subscribe())


class Node(Started[AnyNode]):
    """What hosts, clients and managers have in common besides."""

    @property
    def nat_profile(self) -> NatProfile | None:
        """What stands between it and the internet, ``None`` before the event ``nat:detected``."""
        raw = self._native.nat_profile()
        return None if raw is None else records.nat_profile(raw)
