"""Message connections between two network managers."""

from __future__ import annotations

import asyncio

import pytest

import dig_nat_tools as dig


async def pair(one: dig.NetworkManager, two: dig.NetworkManager) -> tuple[dig.Connection, dig.Connection]:
    there, here = await asyncio.gather(one.connect(f"127.0.0.1:{two.port}"), two.accept())
    assert here is not None
    return there, here


async def test_messages_both_ways():
    async with dig.NetworkManager() as one, dig.NetworkManager() as two:
        there, here = await pair(one, two)
        assert (there.peer, here.peer) == (two.peer_id, one.peer_id)
        assert there.connection_type in ("tcp", "udp")
        assert one.connection_type(two.peer_id) == there.connection_type
        assert there.address.startswith("/ip4/127.0.0.1/")

        await there.send("text ☃")
        await there.send(b"\x00\xff", kind="binary")
        await there.send(memoryview(bytearray(b"view")))
        await there.send("")
        assert await here.receive() == dig.Message("", "text ☃")
        assert await here.receive() == dig.Message("binary", b"\x00\xff")
        assert await here.receive() == dig.Message("", b"view")
        assert await here.receive() == dig.Message("", "")

        # Larger than what the transport takes in before the other side reads.
        _, answer = await asyncio.gather(here.send(b"x" * 3_000_000, kind="large"), there.receive())
        assert answer.kind == "large" and answer.data == b"x" * 3_000_000


async def test_iteration_ends_when_the_other_side_closes():
    async with dig.NetworkManager() as one, dig.NetworkManager() as two:
        there, here = await pair(one, two)
        async with there:
            for number in range(10):
                await there.send(str(number))
        assert [message.data async for message in here] == [str(number) for number in range(10)]
        assert await here.receive() is None
        with pytest.raises(dig.DigNatConnectionClosedError):
            await there.send("too late")
        await there.close()


async def test_bad_messages_are_refused():
    async with dig.NetworkManager() as one, dig.NetworkManager() as two:
        there, here = await pair(one, two)
        with pytest.raises(TypeError):
            await there.send(5)
        with pytest.raises(dig.DigNatInvalidArgumentError):
            await there.send(b"", kind="k" * 256)
        with pytest.raises(dig.DigNatInvalidArgumentError):
            await there.send(bytes(17 * 1024 * 1024))
        await there.send("still works")
        assert (await here.receive()).data == "still works"


async def test_cancelled_send_closes_the_connection():
    async with dig.NetworkManager() as one, dig.NetworkManager() as two:
        there, here = await pair(one, two)
        # Nobody reads: it cannot end by itself.
        sending = asyncio.create_task(there.send(bytes(16_000_000)))
        await asyncio.sleep(0.1)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        with pytest.raises(dig.DigNatConnectionClosedError):
            await there.send("after half a message")


async def test_accept_ends_with_the_manager():
    manager = await dig.create_network_manager()
    waiting = asyncio.create_task(manager.accept())
    await asyncio.sleep(0)
    await manager.stop()
    assert await waiting is None


def test_blocking_managers():
    with dig.sync.NetworkManager() as one, dig.sync.NetworkManager() as two:
        with pytest.raises(dig.DigNatTimeoutError):
            two.accept(timeout=0.05)
        with one.connect(f"127.0.0.1:{two.port}") as there:
            here = two.accept(timeout=30.0)
            with pytest.raises(TimeoutError):
                here.receive(timeout=0.05)
            there.send("hello", kind="greeting")
            assert here.receive(timeout=30.0) == dig.Message("greeting", "hello")
        assert list(here) == []
