"""Events as asynchronous and blocking iterators."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import dig_nat_tools as dig
from dig_nat_tools import events

CORE = Path(__file__).resolve().parents[2] / "core" / "src" / "base" / "events.rs"


async def test_events_of_a_life(sample):
    shared = sample()
    host = dig.FileHost()
    stream = host.events()
    await host.start()
    port, peer_id = host.port, host.peer_id
    await host.add_file(shared.path, content_id="name")
    await host.remove_file(shared.hash)
    await host.stop()
    seen = [event async for event in stream]

    started = next(event for event in seen if isinstance(event, events.StartedEvent))
    assert (started.port, started.peer_id) == (port, peer_id)
    assert all(peer_id in address for address in started.addresses) and started.addresses
    added = next(event for event in seen if isinstance(event, events.FileAddedEvent))
    assert (added.hash, added.path, added.size) == (shared.hash, shared.path, len(shared.data))
    assert added.content_id == "name"
    assert events.FileRemovedEvent(shared.hash, shared.path) in seen
    assert seen[-1] == events.StoppedEvent(), "the stream ends after the end"
    assert not any(isinstance(event, events.UnknownEvent) for event in seen)


async def test_peers_come_and_go(sample, tmp_path):
    shared = sample()
    async with dig.FileHost() as host:
        await host.add_file(shared.path)
        stream = host.events()
        async with dig.FileClient() as client:
            await client.download(shared.hash, peers=[f"127.0.0.1:{host.port}"], save_path=tmp_path / "copy")
            client_id = client.peer_id
        came = went = False
        async for event in stream:
            match event:
                case events.PeerConnectedEvent(peer=peer, address=address):
                    came |= peer == client_id and address.startswith("/ip4/127.0.0.1/")
                case events.PeerDisconnectedEvent(peer=peer):
                    went |= peer == client_id
            if came and went:
                break
        await stream.aclose()
        assert [event async for event in stream] == []


async def test_cancelled_wait_for_an_event_loses_none(sample):
    hashes = []
    samples = [sample(10, f"{number}.bin") for number in range(30)]
    async with dig.FileHost() as host:
        stream = host.events()
        for shared in samples:
            waiting = asyncio.create_task(stream.__anext__())
            await asyncio.sleep(0)
            # The event is on its way to the waiting task when that is cancelled.
            await host.add_file(shared.path)
            waiting.cancel()
            try:
                hashes.append(getattr(await waiting, "hash", None))
            except asyncio.CancelledError:
                pass
        await host.stop()
        hashes += [event.hash async for event in stream if isinstance(event, events.FileAddedEvent)]
    assert [hash for hash in hashes if hash] == [shared.hash for shared in samples]


def test_blocking_iteration_releases_the_gil(sample):
    import threading

    shared = sample()
    with dig.sync.FileHost() as host:
        stream = host.events()
        # This thread can only run while the main thread waits without the GIL.
        thread = threading.Thread(target=host.add_file, args=(shared.path,))
        thread.start()
        while not isinstance(stream.next(timeout=30.0), events.FileAddedEvent):
            pass
        thread.join()
    assert isinstance(list(stream)[-1], events.StoppedEvent)


def test_every_event_of_core_has_a_class():
    source = CORE.read_text(encoding="utf-8")
    body = source[source.index("pub enum Event {") :]
    kinds = dict(re.findall(r'#\[serde\(rename = "([^"]+)"\)\]\s+(\w+)', body))
    assert len(kinds) >= 10
    classes = {cls.type: cls.__name__ for cls in events.Event.__subclasses__() if cls.type}
    assert classes == {kind: f"{variant}Event" for kind, variant in kinds.items()}


def test_event_without_a_class_keeps_its_fields():
    raw = {"type": "from:the:future", "value": 1}
    assert events.event(raw) == events.UnknownEvent(raw)


def test_warnings_carry_an_error():
    raw = {"type": "warning", "error": {"code": "ERR_IO", "number": 25, "message": "m", "advice": "a"}}
    assert events.event(raw) == events.WarningEvent(dig.ErrorRecord("ERR_IO", 25, "m", "a"))
