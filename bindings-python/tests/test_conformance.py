"""The scenarios every binding runs: share, download, progress, nobody there, wrong hash, bad option, callback."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from pathlib import Path

import pytest

import dig_nat_tools as dig


def at(node: dig.FileHost | dig.NetworkManager) -> list[str]:
    return [f"127.0.0.1:{node.port}"]


async def test_share_and_download(sample, tmp_path):
    shared = sample(3_000_000)
    async with dig.FileHost() as host, dig.FileClient() as client:
        info = await host.add_file(shared.path)
        assert info == dig.FileInfo(path=shared.path, hash=shared.hash, size=3_000_000, content_id=None)
        assert host.files() == [info]
        assert host.has_file(shared.hash)

        remote = await client.file_info(shared.hash, peers=at(host))
        assert (remote.hash, remote.size, remote.name) == (shared.hash, 3_000_000, "sample.bin")

        target = tmp_path / "copy.bin"
        result = await client.download(shared.hash, peers=at(host), save_path=target)
        assert (result.path, result.hash, result.size) == (target, shared.hash, 3_000_000)
        assert target.read_bytes() == shared.data
        assert sum(stats.bytes for stats in result.peers.values()) >= 3_000_000
        assert list(result.peers) == [host.peer_id]
        assert result.average_speed > 0


async def test_directory_is_shared_at_start(sample, tmp_path):
    first, second = sample(10, "a.txt"), sample(70_000, "b.txt")
    async with dig.create_file_host(directory=first.path.parent) as host:
        assert [file.path.name for file in host.files()] == ["a.txt", "b.txt"]
        assert {file.hash for file in host.files()} == {first.hash, second.hash}


async def test_factories_can_be_awaited(sample):
    for create in (dig.create_file_host, dig.create_file_client, dig.create_network_manager):
        node = create()
        assert node.port == 0 and node.peer_id is None
        assert await node is node
        try:
            assert node.port > 0 and node.peer_id
        finally:
            await node.stop()
        assert node.port == 0


async def test_name_from_the_host_is_used(sample, tmp_path):
    shared = sample(1000, "holiday.jpg")
    (tmp_path / "out").mkdir()
    async with dig.FileHost() as host:
        await host.add_file(shared.path)
        result = await dig.download_file(shared.hash, peers=at(host), output_dir=tmp_path / "out")
    assert result.path == tmp_path / "out" / "holiday.jpg"
    assert result.path.read_bytes() == shared.data


async def test_found_by_content_id_on_the_local_network(sample, tmp_path):
    shared = sample(100_000)
    async with dig.FileHost() as host, dig.FileClient() as client:
        await host.add_file(shared.path, content_id="holiday-film")
        assert host.hash_for_content("holiday-film") == shared.hash
        assert host.content_for_hash(shared.hash) == "holiday-film"
        found = await client.find_peers("holiday-film", max_peers=1, timeout=30.0)
        assert [peer.id for peer in found] == [host.peer_id]
        result = await client.download("holiday-film", save_path=tmp_path / "film")
        assert (tmp_path / "film").read_bytes() == shared.data
        assert result.hash == shared.hash


@pytest.mark.parametrize("size", [0, 1, 2_000_000])
async def test_progress_comes_in_order_on_the_loop(sample, tmp_path, size):
    shared = sample(size)
    reports: list[dig.Progress] = []
    threads = set()

    def on_progress(report: dig.Progress) -> None:
        asyncio.get_running_loop()  # raises off the loop's thread
        threads.add(threading.get_ident())
        reports.append(report)

    async with dig.FileHost() as host:
        await host.add_file(shared.path)
        await dig.download_file(
            shared.hash, peers=at(host), save_path=tmp_path / "copy", on_progress=on_progress, discover=False
        )
        after = list(reports)
    assert reports == after, "nothing is reported after the download has returned"
    assert threads == {threading.get_ident()}
    assert len(reports) >= 2, "the first and the last state are always reported"
    assert reports[0].bytes == 0 and reports[0].fraction == 0.0
    assert (reports[-1].bytes, reports[-1].total, reports[-1].fraction) == (size, size, 1.0)
    assert [report.bytes for report in reports] == sorted(report.bytes for report in reports)
    assert (tmp_path / "copy").stat().st_size == size


async def test_download_from_several_hosts_at_once(sample, tmp_path):
    shared = sample(4_000_000)
    async with dig.FileHost(upload_limit=4_000_000) as one, dig.FileHost(upload_limit=4_000_000) as two:
        await one.add_file(shared.path)
        await two.add_file(shared.path)
        result = await dig.download_file(
            shared.hash, peers=at(one) + at(two), save_path=tmp_path / "copy", discover=False
        )
        assert set(result.peers) == {one.peer_id, two.peer_id}
        assert all(stats.bytes > 0 for stats in result.peers.values())
    assert (tmp_path / "copy").read_bytes() == shared.data


async def test_nobody_has_it(tmp_path):
    async with dig.FileClient() as client:
        with pytest.raises(dig.DigNatNoPeersError) as caught:
            await client.download("ab" * 32, output_dir=tmp_path, discover=False, timeout=0.5)
        assert caught.value.code == "ERR_NO_PEERS" and caught.value.advice
        assert await client.find_peers("ab" * 32, timeout=0.2) == []
    assert list(tmp_path.iterdir()) == []


async def test_peer_does_not_have_it(sample, tmp_path):
    shared = sample()
    async with dig.FileHost() as host:
        await host.add_file(shared.path)
        with pytest.raises((dig.DigNatContentNotFoundError, dig.DigNatNoPeersError)):
            await dig.download_file("cd" * 32, peers=at(host), output_dir=tmp_path / "x", discover=False, timeout=2.0)
    assert not (tmp_path / "x").exists() or not any((tmp_path / "x").iterdir())


async def test_unreachable_peer(tmp_path):
    async with dig.NetworkManager() as manager:
        port = manager.port
        await manager.stop()  # nobody listens there now
        async with dig.NetworkManager() as other:
            with pytest.raises(ConnectionError):
                await other.connect(f"127.0.0.1:{port}")


async def test_removed_and_missing_files(sample, tmp_path):
    shared = sample()
    async with dig.FileHost() as host:
        await host.add_file(shared.path)
        assert await host.remove_file(shared.hash) is True
        assert await host.remove_file(shared.hash) is False
        assert host.files() == []
        with pytest.raises(FileNotFoundError) as caught:
            await host.add_file(tmp_path / "missing")
        assert isinstance(caught.value, dig.DigNatFileNotFoundError)
        assert "missing" in str(caught.value)


async def test_target_directory_is_missing(sample, tmp_path):
    shared = sample()
    async with dig.FileHost() as host:
        await host.add_file(shared.path)
        with pytest.raises(dig.DigNatFileNotFoundError, match="no-such-dir"):
            await dig.download_file(shared.hash, peers=at(host), save_path=tmp_path / "no-such-dir" / "copy")


async def test_paths_need_not_be_unicode(tmp_path):
    import os

    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.bin"))
    path.write_bytes(b"content")
    async with dig.FileHost() as host:
        info = await host.add_file(path)
        assert info.path == path
        assert [file.path for file in host.files()] == [path]


async def test_hashing(sample):
    shared = sample(5_000_000)
    assert dig.calculate_sha256(shared.data) == shared.hash
    assert dig.calculate_sha256(memoryview(shared.data)[:64]) == hashlib.sha256(shared.data[:64]).hexdigest()
    assert await dig.calculate_sha256_file(shared.path) == shared.hash
    with pytest.raises(TypeError):
        dig.calculate_sha256("text")
    with pytest.raises(FileNotFoundError):
        await dig.calculate_sha256_file(shared.path.with_name("missing"))


async def test_two_managers_exchange_files(sample, tmp_path):
    shared = sample()
    async with dig.NetworkManager() as one, dig.NetworkManager() as two:
        await one.share_file(shared.path)
        two.add_peer(f"127.0.0.1:{one.port}")
        await two.download(shared.hash, save_path=tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == shared.data


async def test_light_node_downloads_and_never_serves(sample, tmp_path):
    shared = sample()
    async with dig.FileHost() as host, dig.FileClient(light_node=True) as light:
        await host.add_file(shared.path)
        await light.download(shared.hash, peers=at(host), save_path=tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == shared.data
