"""Reaching one peer and saying how, over loopback: directly, by its id, through a relay, not at all; diagnosing."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import pytest

import dig_nat_tools as dig
from dig_nat_tools import sync

NOBODY = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp"


def tcp(node: dig.NetworkManager | sync.NetworkManager) -> str:
    return next(address for address in node.addresses if "/tcp/" in address)


@contextlib.asynccontextmanager
async def echo(**options):
    """A manager that sends back what it hears."""

    async def answer(connection: dig.Connection) -> None:
        async for message in connection:
            await connection.send(message.data)

    async def serve(manager: dig.NetworkManager) -> None:
        answering = set()
        while (connection := await manager.accept()) is not None:
            answering.add(asyncio.create_task(answer(connection)))
        for task in answering:
            task.cancel()
        await asyncio.gather(*answering, return_exceptions=True)

    manager = dig.NetworkManager(local_enabled=False, **options)
    events = manager.events()
    async with manager:
        serving = asyncio.create_task(serve(manager))
        yield manager, events
    await serving


async def answers(connection: dig.Connection) -> None:
    await connection.send("hello")
    message = await connection.receive()
    assert message is not None and message.data == "hello"


async def test_a_peer_is_reached_directly():
    async with echo() as (to, _), dig.NetworkManager(local_enabled=False) as manager:
        async with await manager.connect_to_peer(tcp(to)) as connection:
            traversal = connection.traversal
            assert isinstance(traversal, dig.Traversal)
            assert (traversal.peer, traversal.address, traversal.port) == (to.peer_id, "127.0.0.1", to.port)
            assert traversal.transport in ("tcp", "udp") and not traversal.relayed and traversal.took_ms >= 0
            connected = [attempt for attempt in traversal.attempts.attempts if attempt.result == "connected"]
            assert traversal.method in [attempt.method for attempt in connected]
            await answers(connection)
        async with await manager.connect(f"127.0.0.1:{to.port}") as plain:
            assert plain.traversal is None


async def test_an_id_alone_leads_to_a_peer_that_its_options_locate():
    async with echo() as (to, _), dig.NetworkManager(local_enabled=False) as manager:
        connection = await manager.connect_to_peer(
            to.peer_id,
            addresses=[f"127.0.0.1:{to.port}"],
            preferred_methods=["DIRECT_TCP"],
            timeout_ms=20_000,
            save_to_registry=False,
        )
        assert connection.traversal is not None and connection.traversal.transport == "tcp"
        await answers(connection)
        await connection.close()


async def test_a_peer_is_reached_through_a_relay():
    async with dig.NetworkManager(local_enabled=False, relay_server=True) as relay:
        async with echo(relays=[tcp(relay)]) as (to, events), dig.NetworkManager(local_enabled=False) as manager:
            async for event in events:
                if isinstance(event, dig.events.RelayReservedEvent):
                    break
            async with await manager.connect_to_peer(event.address, preferred_methods=["relay"]) as connection:
                traversal = connection.traversal
                assert traversal is not None
                assert (traversal.peer, traversal.method, traversal.connection_type, traversal.relayed) == (
                    to.peer_id,
                    "circuit",
                    "relay",
                    True,
                )
                await answers(connection)


async def test_a_failure_tells_every_way():
    async with dig.NetworkManager(local_enabled=False) as manager:
        with pytest.raises(dig.DigNatPeerUnreachableError) as caught:
            await manager.connect_to_peer(NOBODY, timeout=5.0)
        for part in ("not tried: no such address is known", "what would help"):
            assert part in str(caught.value)
        with pytest.raises(dig.DigNatInvalidArgumentError, match="pigeon"):
            await manager.connect_to_peer(NOBODY, preferred_methods=["pigeon"])
        with pytest.raises(dig.DigNatInvalidArgumentError, match="speed"):
            await manager.connect_to_peer(NOBODY, speed=1)  # type: ignore[call-arg]
        with pytest.raises(dig.DigNatInvalidArgumentError, match="peer"):
            await manager.connect_to_peer("somebody")


async def test_an_attempt_can_be_cancelled():
    async with dig.NetworkManager(local_enabled=False) as manager:
        running = asyncio.create_task(manager.connect_to_peer(NOBODY, addresses=["192.0.2.1:9"], timeout=600.0))
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


async def test_diagnose():
    async with echo() as (to, _):
        servers = [f"127.0.0.1:{to.port}"]
        found = await dig.diagnose(stun_servers=servers, timeout=3.0)
        assert isinstance(found, dig.Diagnosis) and isinstance(found, dig.NatProfile)
        assert (found.problem, found.ipv4, found.ipv6, found.peer, found.translated) == (
            None,
            "127.0.0.1",
            None,
            None,
            False,
        )
        assert found.advice and isinstance(found.ipv6_state, dig.Ipv6State) and found.port_mapping == ()
        with pytest.raises(dig.DigNatInvalidArgumentError):
            await dig.diagnose()
        async with dig.NetworkManager(local_enabled=False, stun_servers=servers) as manager:
            reached = await manager.diagnose(tcp(to))
            assert reached.ipv4 == "127.0.0.1" and reached.peer is not None
            assert reached.peer.reached is not None and reached.peer.error is None
            assert reached.peer.reached.peer == to.peer_id
            missed = await manager.diagnose(NOBODY, timeout=1.0)
            assert missed.peer is not None and missed.peer.reached is None and missed.peer.error
            assert {attempt.result for attempt in missed.peer.attempts.attempts} == {"skipped"}
            assert "no-address" in {attempt.reason for attempt in missed.peer.attempts.attempts}
            assert (await manager.diagnose()).peer is None


def test_blocking_calls():
    with sync.NetworkManager(local_enabled=False) as to, sync.NetworkManager(local_enabled=False) as manager:
        peers = []

        def accept() -> None:
            connection = to.accept(timeout=30.0)
            assert connection is not None
            peers.append(connection.peer)
            connection.close()

        accepting = threading.Thread(target=accept)
        accepting.start()
        with manager.connect_to_peer(tcp(to), timeout=20.0) as connection:
            assert connection.traversal is not None and connection.traversal.peer == to.peer_id
            accepting.join()
        assert peers == [manager.peer_id]
        with pytest.raises(dig.DigNatPeerUnreachableError, match="what would help"):
            manager.connect_to_peer(NOBODY, timeout=5.0)
        found = sync.diagnose(stun_servers=[f"127.0.0.1:{to.port}"], timeout=3.0)
        assert found.ipv4 == "127.0.0.1"
        missed = manager.diagnose(NOBODY, timeout=1.0)
        assert missed.peer is not None and missed.peer.reached is None


def test_outcomes_are_plain():
    outcome = {"result": "skipped", "reason": {"because": "forbidden", "detail": "private"}}
    raw = {"method": "lan", "target": "10.0.0.1:1", "startedMs": 0, "tookMs": 1, "outcome": outcome}
    failed = {**raw, "outcome": {"result": "failed", "reason": "timeout"}, "detail": "why"}
    log = dig.records.attempt_log({"attempts": [raw, failed], "omitted": 2})
    first, second = log.attempts
    assert (first.result, first.reason, first.refusal, first.detail) == ("skipped", "forbidden", "private", "")
    assert (second.result, second.reason, second.refusal, second.detail) == ("failed", "timeout", None, "why")
    assert log.omitted == 2
