"""Single ways through NATs and the connection registry for ``asyncio``; :mod:`dig_nat_tools.aio` exports these names.

Not here: nodes, which do all of this by themselves.
"""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from . import _native, records
from ._encode import encode
from ._running import as_bytes, run
from .records import AllocationInfo, RegistryEntry, SocketInfo

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from .options import IceKeywords, PunchKeywords, RegistryKeywords, SaveConnectionKeywords, TurnKeywords

__all__ = [
    "ConnectionRegistry",
    "PunchedSocket",
    "Signaling",
    "TurnAllocation",
    "connect_with_ice",
    "create_turn_allocation",
    "punch_tcp",
    "punch_udp",
    "tcp_simultaneous_open",
]


class PunchedSocket:
    """A way to one peer: datagrams, which may be lost, or a stream. Nothing is encrypted here.

    ``async for data in socket`` reads until the end; ``async with socket`` closes at the end.
    """

    def __init__(self, native: _native.PunchedSocket) -> None:
        self._native = native
        self._unread: deque[bytes | None] = deque()

    @property
    def info(self) -> SocketInfo:
        """What it is and where it leads."""
        return records.socket_info(self._native.info())

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        """Sends a datagram of at most 65507 bytes, or bytes of the stream. Returns when the system has them.

        Cancelling it half-way closes a stream.
        """
        await run(self._native.send(as_bytes(data)))

    async def receive(self) -> bytes | None:
        """The next datagram, or the next bytes of the stream; ``None`` after the end. Cancelling it loses nothing."""
        if self._unread:
            return self._unread.popleft()
        return await run(self._native.receive(), on_unread=self._unread.append)

    async def close(self) -> None:
        """Ends it after what was sent and frees its port. A second call does nothing."""
        await run(self._native.close())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        data = await self.receive()
        if data is None:
            raise StopAsyncIteration
        return data

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class TurnAllocation:
    """An address at a TURN server that relays datagrams to us, prolonged as long as it is held.

    ``async with allocation`` releases it at the end.
    """

    def __init__(self, native: _native.TurnAllocation) -> None:
        self._native = native
        self._unread: deque[tuple[bytes, str, int] | None] = deque()

    @property
    def info(self) -> AllocationInfo:
        """What the server granted."""
        return records.allocation_info(self._native.info())

    async def permit(self, address: str) -> None:
        """Lets a peer's IP address in, all ports. Until then nothing of it arrives."""
        await run(self._native.permit(address))

    async def send_to(self, data: bytes | bytearray | memoryview, address: str, port: int) -> None:
        """Sends a datagram to a peer, which is let in first if it is not yet."""
        await run(self._native.send_to(as_bytes(data), address, port))

    async def receive(self) -> tuple[bytes, str, int] | None:
        """The next datagram with its sender's address and port; ``None`` after :meth:`release`."""
        if self._unread:
            return self._unread.popleft()
        return await run(self._native.receive(), on_unread=self._unread.append)

    async def refresh(self, lifetime_s: int = 600) -> int:
        """Prolongs it now; how many seconds the server grants. It is prolonged in time without this too."""
        return await run(self._native.refresh(lifetime_s))

    async def release(self) -> None:
        """Removes it at the server. A second call does nothing."""
        await run(self._native.release())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.release()


class ConnectionRegistry:
    """Which way led to a peer last, kept across runs for 45 days. Made by :meth:`open`.

    One program at a time should use a directory: of two, the one that writes last wins.
    """

    def __init__(self, native: _native.ConnectionRegistry) -> None:
        self._native = native

    @classmethod
    async def open(cls, **options: Unpack[RegistryKeywords]) -> Self:
        """Reads the registry; there need not be one yet."""
        return cls(await run(_native.open_registry(encode(options))))

    def successful_methods(self, peer: str) -> list[str]:
        """The ways that led to the peer, such as ``UDP_HOLE_PUNCH``, latest first."""
        return self._native.successful_methods(peer)

    def connection_method(self, peer: str) -> RegistryEntry | None:
        """The last way, ``None`` for an unknown peer."""
        raw = self._native.connection_method(peer)
        return None if raw is None else records.registry_entry(raw)

    async def save(self, peer: str, connection_type: str, **options: Unpack[SaveConnectionKeywords]) -> None:
        """Remembers that a way worked. Every spelling of a connection type is understood."""
        await run(self._native.save(peer, connection_type, encode(options)))

    async def remove(self, peer: str) -> bool:
        """Forgets a peer; ``False`` when there was nothing to forget."""
        return await run(self._native.remove(peer))

    async def cleanup(self) -> int:
        """Forgets what is older than 45 days; how many ways that were."""
        return await run(self._native.cleanup())


class Signaling(Protocol):
    """Brings messages of at most 8 KiB to the peer and back: private and authenticated, in order or not at all."""

    async def send(self, message: bytes) -> object:
        """Brings a message to the peer."""

    async def receive(self) -> bytes | None:
        """Waits for the next message of the peer; ``None`` at the end. It is cancelled when no more are needed."""


async def punch_udp(**options: Unpack[PunchKeywords]) -> PunchedSocket:
    """Opens a UDP path to ``remote_endpoint``; the peer does the same at about the same time.

    Raises :class:`~dig_nat_tools.DigNatPeerUnreachableError` when the peer did not answer in time.
    """
    return PunchedSocket(await run(_native.punch("UDP_HOLE_PUNCH", encode(options))))


async def punch_tcp(**options: Unpack[PunchKeywords]) -> PunchedSocket:
    """Opens a TCP connection to ``remote_endpoint``; the peer does the same at about the same time."""
    return PunchedSocket(await run(_native.punch("TCP_HOLE_PUNCH", encode(options))))


async def tcp_simultaneous_open(**options: Unpack[PunchKeywords]) -> PunchedSocket:
    """The same as :func:`punch_tcp` under the other name: both sides listen and connect."""
    return PunchedSocket(await run(_native.punch("TCP_SIMULTANEOUS_OPEN", encode(options))))


async def create_turn_allocation(**options: Unpack[TurnKeywords]) -> TurnAllocation:
    """Allocates an address at the first of the named TURN servers that grants one."""
    return TurnAllocation(await run(_native.create_turn_allocation(encode(options))))


async def connect_with_ice(signaling: Signaling | None = None, **options: Unpack[IceKeywords]) -> PunchedSocket:
    """Finds a pair of addresses that works, by ICE (RFC 8445); the peer does the same at the other end of ``signaling``.

    Without ``signaling`` both sides meet at the Gun relays ``gun_peers`` under ``local_id`` and ``remote_id``. An exception
    of ``signaling`` ends the attempt and comes out here.
    """
    if signaling is None:
        return PunchedSocket(await run(_native.connect_with_ice(encode(options))))
    ends = _native.Signalling()
    operation = _native.connect_with_ice(encode(options), ends)
    connecting = asyncio.ensure_future(run(operation))
    carrying = [asyncio.ensure_future(_send(ends, signaling)), asyncio.ensure_future(_receive(ends, signaling))]
    try:
        pending: set[asyncio.Future[Any]] = {connecting, *carrying}
        while not connecting.done():
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {connecting}:
                task.result()
        return PunchedSocket(connecting.result())
    finally:
        for task in (connecting, *carrying):
            task.cancel()
        await asyncio.gather(connecting, *carrying, return_exceptions=True)


async def _send(ends: _native.Signalling, signaling: Signaling) -> None:
    while (message := await run(ends.outgoing())) is not None:
        await signaling.send(message)


async def _receive(ends: _native.Signalling, signaling: Signaling) -> None:
    while (message := await signaling.receive()) is not None:
        if not await run(ends.deliver(as_bytes(message))):
            return
    ends.close()
