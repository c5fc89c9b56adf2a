"""The scenarios that every binding of a light node passes, in UniFFI's Python.

Arguments: folder of the generated module, hash, address, original file, folder to write to. A host of another process
shares the file.
"""

import asyncio
import json
import os
import pathlib
import sys

sys.path.insert(0, sys.argv[1])

import dig_nat  # noqa: E402
from dig_nat import DigNatError, DownloadOptions, FindOptions, LightNode, LightNodeOptions, MappingOptions, NatOptions  # noqa: E402

DEADLINE = 240
HASH, ADDRESS, ORIGINAL, FOLDER = sys.argv[2], sys.argv[3], pathlib.Path(sys.argv[4]), pathlib.Path(sys.argv[5])


class Recorder(dig_nat.ProgressListener):
    def __init__(self):
        self.seen = []
        self.loop = asyncio.get_running_loop()
        self.first = asyncio.Event()

    def on_progress(self, progress):
        self.seen.append(progress)
        if progress.bytes > 0:
            self.loop.call_soon_threadsafe(self.first.set)


class Events(dig_nat.EventListener):
    def __init__(self):
        self.seen = []

    def on_event(self, event_json):
        self.seen.append(json.loads(event_json))


def options(name, limit=None, **more):
    return DownloadOptions(save_path=str(FOLDER / name), peers=[ADDRESS], download_limit=limit, **more)


async def fails(kinds, call):
    try:
        await call
    except kinds as error:
        return error
    raise AssertionError(f"expected {kinds}, but it succeeded")


async def download_with_progress(node):
    recorder = Recorder()
    result = await node.download(HASH, options("python.bin"), recorder)
    assert (result.hash, result.size) == (HASH, ORIGINAL.stat().st_size), result
    assert pathlib.Path(result.path).read_bytes() == ORIGINAL.read_bytes()
    assert sum(peer.bytes for peer in result.peers.values()) >= result.size, result.peers
    assert recorder.seen[-1].fraction == 1.0, recorder.seen[-1]
    seen = [progress.bytes for progress in recorder.seen]
    assert seen == sorted(seen), seen
    assert await dig_nat.calculate_sha256_file(result.path) == HASH
    assert dig_nat.calculate_sha256(ORIGINAL.read_bytes()) == HASH


async def file_info(node):
    info = await node.file_info(HASH, options("unused"))
    assert (info.size, info.hash) == (ORIGINAL.stat().st_size, HASH), info


async def cancel(node):
    recorder = Recorder()
    download = node.start_download(HASH, options("cancelled.bin", 65_536), recorder)
    await recorder.first.wait()
    download.cancel()
    await fails(DigNatError.Cancelled, download.result())
    assert not (FOLDER / "cancelled.bin").exists()
    # What was fetched is not fetched again.
    result = await node.download(HASH, options("cancelled.bin"), None)
    assert result.resumed_bytes > 0, result


async def suspend_and_resume(node):
    recorder = Recorder()
    download = node.start_download(HASH, options("suspended.bin", 1_000_000), recorder)
    await recorder.first.wait()
    await node.suspend()
    assert node.is_suspended() and node.port() == 0
    await node.suspend()
    await node.resume()
    assert not node.is_suspended() and node.port() != 0
    result = await download.result()
    assert pathlib.Path(result.path).read_bytes() == ORIGINAL.read_bytes()
    assert recorder.seen[-1].fraction == 1.0, recorder.seen[-1]


async def no_peer(node):
    nobody = DownloadOptions(save_path=str(FOLDER / "none"), timeout_ms=300, discover=False)
    error = await fails(DigNatError.NoPeers, node.download(HASH, nobody, None))
    assert error.code == "ERR_NO_PEERS" and error.reason and error.advice, error


async def wrong_hash(node):
    kinds = (DigNatError.NoPeers, DigNatError.ContentNotFound)
    await fails(kinds, node.download("00" * 32, options("wrong", timeout_ms=2_000), None))


async def bad_option(node):
    try:
        LightNode(LightNodeOptions(max_connections=0))
        raise AssertionError("0 connections were accepted")
    except DigNatError.InvalidArgument as error:
        assert "maxConnections" in error.reason, error
    await fails(DigNatError.InvalidArgument, node.download("", DownloadOptions(), None))


async def find_peers(node):
    node.add_peer(ADDRESS, HASH)
    assert await node.find_peers(HASH, FindOptions(max_peers=1, timeout_ms=5_000))


async def nat(node):
    # The host answers STUN on its UDP port.
    asked = NatOptions(stun_servers=[ADDRESS], timeout_ms=3_000)
    found = await dig_nat.discover_public_ips(asked)
    assert (found.ipv4, found.ipv6) == ("127.0.0.1", None), found
    profile = await dig_nat.detect_nat_type(asked)
    assert profile.translated is False and not profile.symmetric, profile
    assert profile.public_v4.startswith("127.0.0.1:"), profile
    await fails(DigNatError.InvalidArgument, dig_nat.detect_nat_type(NatOptions(timeout_ms=5)))
    refused = dig_nat.create_upnp_mapping(MappingOptions(internal_port=1, protocol="SCTP"))
    assert "protocol" in (await fails(DigNatError.InvalidArgument, refused)).reason
    await fails(DigNatError.InvalidArgument, dig_nat.delete_upnp_mapping(MappingOptions()))
    assert node.nat_profile() is None, "this node was told no server"
    # One that is told finds out by itself.
    events = Events()
    told = LightNode(LightNodeOptions(stun_servers=[ADDRESS]))
    told.set_event_listener(events)
    await told.start()
    while not any(event["type"] == "nat:detected" for event in events.seen):
        await asyncio.sleep(0.01)
    assert told.nat_profile().public_v4 == f"127.0.0.1:{told.port()}", told.nat_profile()
    await told.stop()


async def main():
    events = Events()
    node = LightNode(LightNodeOptions(download_dir=str(FOLDER)))
    node.set_event_listener(events)
    assert node.port() == 0 and node.peer_id() is None
    await node.start()
    await node.start()
    scenarios = [
        download_with_progress,
        file_info,
        cancel,
        suspend_and_resume,
        no_peer,
        wrong_hash,
        bad_option,
        find_peers,
        nat,
    ]
    for scenario in scenarios:
        await scenario(node)
        print("ok", scenario.__name__, flush=True)
    await node.stop()
    await node.stop()
    assert node.port() == 0
    assert any(event["type"] == "started" for event in events.seen), events.seen
    print("passed", len(scenarios))


asyncio.run(asyncio.wait_for(main(), DEADLINE))
# A thread of the library may be inside a listener now, with the "stopped" event. An interpreter that winds down ends such
# threads by unwinding them, through native code that does not expect it; so this one does not wind down.
sys.stdout.flush()
os._exit(0)
