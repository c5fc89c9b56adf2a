"""The blocking package."""

from __future__ import annotations

import threading

import pytest

import dig_nat_tools as dig
from dig_nat_tools import sync


def test_share_and_download(sample, tmp_path):
    shared = sample(3_000_000)
    reports: list[dig.Progress] = []
    threads = set()

    def on_progress(report: dig.Progress) -> None:
        threads.add(threading.current_thread())
        reports.append(report)

    with sync.FileHost() as host, sync.FileClient() as client:
        info = host.add_file(shared.path, content_id="film")
        assert info.hash == shared.hash == sync.calculate_sha256_file(shared.path)
        peers = [f"127.0.0.1:{host.port}"]
        assert client.file_info("film", peers=peers, discover=False).size == 3_000_000
        result = client.download(
            shared.hash, peers=peers, save_path=tmp_path / "copy", on_progress=on_progress, discover=False
        )
    assert result.path.read_bytes() == shared.data
    assert threads == {threading.current_thread()}
    assert reports[0].fraction == 0.0 and reports[-1].fraction == 1.0


def test_factories_start(sample):
    for create in (sync.create_file_host, sync.create_file_client, sync.create_network_manager):
        node = create()
        assert node.port > 0
        node.stop()
        assert node.port == 0
        node.stop()


def test_directory(sample):
    shared = sample()
    with sync.create_file_host() as host:
        assert [file.hash for file in host.add_directory(shared.path.parent)] == [shared.hash]
        assert host.remove_file(shared.hash)


def test_failing_callback_cancels(sample, tmp_path):
    shared = sample(8_000_000)

    class Enough(Exception):
        pass

    def on_progress(report: dig.Progress) -> None:
        if report.bytes > 0:
            raise Enough

    with sync.FileHost(upload_limit=200_000) as host:
        host.add_file(shared.path)
        with pytest.raises(Enough):
            sync.download_file(
                shared.hash, peers=[f"127.0.0.1:{host.port}"], save_path=tmp_path / "copy", on_progress=on_progress
            )
    assert not (tmp_path / "copy").exists()


def test_one_node_from_several_threads(sample, tmp_path):
    files = [sample(200_000, f"{number}.bin") for number in range(4)]
    with sync.FileHost() as host, sync.FileClient() as client:
        host.add_directory(files[0].path.parent)

        def fetch(index: int) -> None:
            client.download(
                files[index].hash, peers=[f"127.0.0.1:{host.port}"], save_path=tmp_path / str(index), discover=False
            )

        threads = [threading.Thread(target=fetch, args=(index,)) for index in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for index, shared in enumerate(files):
        assert (tmp_path / str(index)).read_bytes() == shared.data


async def test_blocking_and_asyncio_nodes_work_together(sample, tmp_path):
    shared = sample()
    with sync.FileHost() as host:
        host.add_file(shared.path)
        await dig.download_file(shared.hash, peers=[f"127.0.0.1:{host.port}"], save_path=tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == shared.data


def test_forgotten_node_warns_and_stops():
    with pytest.warns(ResourceWarning, match="FileHost was not stopped"):
        host = sync.create_file_host()
        port = host.port
        del host
    # The port is free again, by the time a new node can be started on it or shortly after.
    for attempt in range(100):
        try:
            with sync.FileHost(port=port):
                return
        except dig.DigNatAddressInUseError:
            threading.Event().wait(0.05)
    pytest.fail("the port is still in use")
