"""Hole punching, TURN, ICE and the connection registry, between two calls of one process over loopback."""

from __future__ import annotations

import asyncio
import queue
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import DEADLINE
from turnserver import PASSWORD, USER, free_port, missing_turnserver, turnserver

import dig_nat_tools as dig
from dig_nat_tools import sync

needs_turnserver = pytest.mark.skipif(missing_turnserver() is not None, reason=str(missing_turnserver()))


async def exchange(one: dig.PunchedSocket, two: dig.PunchedSocket) -> None:
    for sender, receiver in ((one, two), (two, one)):
        await sender.send(b"hello")
        assert await receiver.receive() == b"hello"


@pytest.mark.parametrize(
    ("punch", "kind", "protocol"),
    [
        (dig.punch_udp, "UDP_HOLE_PUNCH", "udp"),
        (dig.punch_tcp, "TCP_HOLE_PUNCH", "tcp"),
        (dig.tcp_simultaneous_open, "TCP_SIMULTANEOUS_OPEN", "tcp"),
    ],
)
async def test_two_endpoints_are_connected(punch, kind, protocol):
    here, there = free_port(), free_port()
    first, second = await asyncio.gather(
        punch(local_endpoint=f"127.0.0.1:{here}", remote_endpoint=f"127.0.0.1:{there}", key="secret", timeout=20.0),
        punch(local_ports=[there], remote_endpoint=f"127.0.0.1:{here}", key="secret", timeout=20.0),
    )
    async with first, second:
        assert (first.info.connection_type, first.info.protocol) == (kind, protocol)
        assert (first.info.remote_address, first.info.remote_port) == ("127.0.0.1", there)
        assert (first.info.local_port, second.info.remote_port) == (here, here)
        await exchange(first, second)
        waiting = asyncio.ensure_future(first.receive())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await second.send(b"after a cancelled receive")
        assert await first.receive() == b"after a cancelled receive"
    assert await first.receive() is None
    with pytest.raises(dig.DigNatConnectionClosedError):
        await first.send(b"late")


async def test_a_peer_that_does_not_come_is_an_error():
    ends = {"local_endpoint": f"127.0.0.1:{free_port()}", "remote_endpoint": f"127.0.0.1:{free_port()}"}
    for punch in (dig.punch_udp, dig.punch_tcp):
        with pytest.raises(dig.DigNatPeerUnreachableError):
            await punch(**ends, timeout=0.2)
        running = asyncio.ensure_future(punch(**ends, timeout=60.0))
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


async def test_wrong_options_are_named():
    for call, name in (
        (dig.punch_udp(), "remoteEndpoint"),
        (dig.punch_udp(remote_endpoint="127.0.0.1"), "remoteEndpoint"),
        (dig.punch_tcp(remote_endpoint="127.0.0.1:1", local_endpoint="a b"), "localEndpoint"),
        (dig.punch_tcp(remote_endpoint="127.0.0.1:1", gun="x"), "gun"),
        (dig.create_turn_allocation(), "turnServer"),
        (dig.create_turn_allocation(turn_server="turn:127.0.0.1", protocol="SCTP"), "protocol"),
        (dig.create_turn_allocation(turn_servers=[{"username": "x"}]), "turnServers"),
    ):
        with pytest.raises(dig.DigNatInvalidArgumentError, match=f"^{name}"):
            await call


@needs_turnserver
async def test_a_turn_server_relays(tmp_path):
    with turnserver(tmp_path) as server, socket.socket(type=socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(DEADLINE)
        credentials = {"username": USER, "credential": PASSWORD}
        for options in (
            {"turn_server": server, "turn_username": USER, "turn_password": PASSWORD, "protocol": "TCP"},
            {"turn_servers": [{"urls": ["turn:127.0.0.1:1?transport=tcp", server], **credentials}]},
        ):
            async with await dig.create_turn_allocation(**options) as allocation:
                info = allocation.info
                assert info.relayed_address == "127.0.0.1" and info.relayed_port > 0 and info.lifetime_s == 600
                await allocation.send_to(b"through the relay", *peer.getsockname())
                data, source = await asyncio.to_thread(peer.recvfrom, 100)
                assert (data, source) == (b"through the relay", (info.relayed_address, info.relayed_port))
                peer.sendto(b"back", source)
                assert await allocation.receive() == (b"back", *peer.getsockname())
                assert await allocation.refresh(700) > 0
                await allocation.permit("127.0.0.2")
                with pytest.raises(dig.DigNatInvalidArgumentError, match="address"):
                    await allocation.permit("nowhere")
            assert await allocation.receive() is None
        with pytest.raises(dig.DigNatInvalidArgumentError, match="turnPassword"):
            await dig.create_turn_allocation(turn_server=server, turn_username=USER, turn_password="wrong")


class Carrier:
    """One end of a carrier in memory."""

    def __init__(self, incoming: asyncio.Queue[bytes | None], outgoing: asyncio.Queue[bytes | None]) -> None:
        self.incoming, self.outgoing = incoming, outgoing

    async def send(self, message: bytes) -> None:
        await self.outgoing.put(message)

    async def receive(self) -> bytes | None:
        return await self.incoming.get()


async def test_ice_connects_over_a_carrier_of_the_program():
    one: asyncio.Queue[bytes | None] = asyncio.Queue()
    two: asyncio.Queue[bytes | None] = asyncio.Queue()
    first, second = await asyncio.gather(
        dig.connect_with_ice(Carrier(one, two), local_id="a", remote_id="b", allow_private=True),
        dig.connect_with_ice(Carrier(two, one), local_id="b", remote_id="a", allow_private=True),
    )
    async with first, second:
        assert (first.info.connection_type, first.info.local_candidate) == ("ICE", "host")
        assert first.info.remote_port == second.info.local_port
        await exchange(first, second)


async def test_without_a_carrier_the_peer_is_met_at_relays_under_names():
    for options, name in [
        ({"gun_peers": ["ws://127.0.0.1:1"]}, "localId"),
        ({"local_id": "a", "remote_id": "b"}, "gunPeers"),
        ({"local_id": "a", "remote_id": "a", "gun_peers": ["ws://127.0.0.1:1"]}, "remoteId"),
    ]:
        with pytest.raises(dig.DigNatInvalidArgumentError, match=f"^{name}"):
            await dig.connect_with_ice(allow_private=True, **options)
    alone = {"local_id": "a", "remote_id": "b", "gun_peers": ["ws://127.0.0.1:1"], "timeout": 0.3}
    for attempt in (dig.connect_with_ice(allow_private=True, **alone), dig.punch_udp(**alone), dig.punch_tcp(**alone)):
        with pytest.raises(dig.DigNatPeerUnreachableError, match="did not come"):
            await attempt


async def test_a_carrier_that_fails_ends_the_attempt():
    class Broken(Carrier):
        async def receive(self) -> bytes | None:
            raise RuntimeError("no wire")

    with pytest.raises(RuntimeError, match="no wire"):
        await dig.connect_with_ice(Broken(asyncio.Queue(), asyncio.Queue()), allow_private=True)
    ended: asyncio.Queue[bytes | None] = asyncio.Queue()
    ended.put_nowait(None)
    with pytest.raises(dig.DigNatConnectionClosedError):
        await dig.connect_with_ice(Carrier(ended, asyncio.Queue()), allow_private=True)
    silent = Carrier(asyncio.Queue(), asyncio.Queue())
    running = asyncio.ensure_future(dig.connect_with_ice(silent, allow_private=True, timeout=60.0))
    await silent.outgoing.get()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_the_registry_remembers_what_worked(tmp_path):
    registry = await dig.ConnectionRegistry.open(registry_dir=tmp_path / "registry")
    assert registry.successful_methods("peer") == [] and registry.connection_method("peer") is None
    await registry.save("peer", "turn")
    await registry.save("peer", "UDP_HOLE_PUNCH", address="192.0.2.1", port=4001, metadata={"relay": "x", "tries": 3})
    with pytest.raises(dig.DigNatInvalidArgumentError, match="connectionType"):
        await registry.save("peer", "carrier pigeon")
    again = await dig.ConnectionRegistry.open(registry_dir=tmp_path / "registry")
    assert again.successful_methods("peer") == ["UDP_HOLE_PUNCH", "TURN"]
    entry = again.connection_method("peer")
    assert entry is not None and abs(time.time() * 1000 - entry.last_success_time) < 24 * 3600 * 1000
    assert (entry.connection_type, entry.address, entry.port) == ("UDP_HOLE_PUNCH", "192.0.2.1", 4001)
    assert (entry.peer_id, entry.success_count, entry.metadata) == ("peer", 1, {"relay": "x", "tries": "3"})
    assert await again.cleanup() == 0
    assert [await again.remove("peer"), await again.remove("peer")] == [True, False]


def test_a_damaged_registry_is_set_aside(tmp_path):
    registry = sync.ConnectionRegistry.open(registry_dir=tmp_path)
    registry.save("peer", "tcp", address="192.0.2.1")
    file = tmp_path / "connections.json"
    file.write_text(file.read_text().replace("192.0.2.1", "192.0.2.2"))
    assert sync.ConnectionRegistry.open(registry_dir=tmp_path).connection_method("peer") is None
    assert "192.0.2.2" in (tmp_path / "connections.damaged").read_text()


class BlockingCarrier:
    """The same for blocking calls."""

    def __init__(self, incoming: queue.Queue[bytes], outgoing: queue.Queue[bytes]) -> None:
        self.incoming, self.outgoing = incoming, outgoing

    def send(self, message: bytes) -> None:
        self.outgoing.put(message)

    def receive(self) -> bytes | None:
        return self.incoming.get()


def test_blocking_calls():
    here, there = free_port(), free_port()
    one: queue.Queue[bytes] = queue.Queue()
    two: queue.Queue[bytes] = queue.Queue()
    with ThreadPoolExecutor(2) as pool:
        at = {"local_endpoint": f"127.0.0.1:{there}", "remote_endpoint": f"127.0.0.1:{here}", "timeout": 20.0}
        other = pool.submit(sync.punch_udp, **at)
        at = {"local_endpoint": f"127.0.0.1:{here}", "remote_endpoint": f"127.0.0.1:{there}", "timeout": 20.0}
        ways = [(sync.punch_udp(**at), other.result(DEADLINE))]
        other = pool.submit(sync.connect_with_ice, BlockingCarrier(two, one), allow_private=True)
        ways += [(sync.connect_with_ice(BlockingCarrier(one, two), allow_private=True), other.result(DEADLINE))]
    for first, second in ways:
        with first, second:
            first.send(b"hello")
            assert second.receive(timeout=DEADLINE) == b"hello"
            with pytest.raises(dig.DigNatTimeoutError):
                first.receive(timeout=0.05)
