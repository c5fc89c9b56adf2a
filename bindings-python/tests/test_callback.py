"""Content that is not a file, served by a Python function."""

from __future__ import annotations

import asyncio
import hashlib
import random
import threading

import pytest

import dig_nat_tools as dig

CONTENT = random.Random("callback").randbytes(1_000_000)
HASH = hashlib.sha256(CONTENT).hexdigest()


def chunks(request: dig.CallbackRequest) -> list[bytes] | None:
    """A few chunks from the wanted one on."""
    if "generated" not in (request.content_id, request.sha256) and HASH not in (request.content_id, request.sha256):
        return None
    start = request.start_chunk * request.chunk_size
    part = CONTENT[start : start + 3 * request.chunk_size]
    return [part[i : i + request.chunk_size] for i in range(0, len(part), request.chunk_size)] or None


@pytest.mark.parametrize("key", ["generated", HASH])
async def test_async_callback(tmp_path, key):
    requests = []

    async def callback(request: dig.CallbackRequest) -> list[bytes] | None:
        assert threading.current_thread() is threading.main_thread()
        await asyncio.sleep(0)
        requests.append(request)
        return chunks(request)

    async with dig.FileHost(file_callback=callback) as host:
        result = await dig.download_file(
            key, peers=[f"127.0.0.1:{host.port}"], save_path=tmp_path / "copy", discover=False
        )
    assert (tmp_path / "copy").read_bytes() == CONTENT
    assert result.hash == HASH
    assert requests[0].start_chunk == 0
    assert all(isinstance(request, dig.CallbackRequest) for request in requests)


async def test_plain_callback_and_unknown_content(tmp_path):
    async with dig.FileHost() as host:
        host.set_file_callback(chunks)
        peers = [f"127.0.0.1:{host.port}"]
        await dig.download_file("generated", peers=peers, save_path=tmp_path / "copy", discover=False)
        assert (tmp_path / "copy").read_bytes() == CONTENT
        with pytest.raises((dig.DigNatContentNotFoundError, dig.DigNatNoPeersError)):
            await dig.download_file("unknown", peers=peers, save_path=tmp_path / "x", discover=False, timeout=2.0)


async def test_callback_with_other_content_than_its_hash(tmp_path):
    """A wrong hash: the host offers something for it, and no byte of that is accepted."""

    def lying(request: dig.CallbackRequest) -> list[bytes] | None:
        return [b"not what you asked for"] if request.start_chunk == 0 else None

    async with dig.FileHost(file_callback=lying) as host:
        with pytest.raises(dig.DigNatError) as caught:
            await dig.download_file(
                HASH, peers=[f"127.0.0.1:{host.port}"], save_path=tmp_path / "x", discover=False, timeout=2.0
            )
    assert caught.value.code in ("ERR_CONTENT_NOT_FOUND", "ERR_NO_PEERS", "ERR_VERIFICATION_FAILED")
    assert not (tmp_path / "x").exists()


async def test_failing_callback_is_reported_to_the_loop(tmp_path):
    reported = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))

    def failing(request: dig.CallbackRequest) -> list[bytes] | None:
        raise ZeroDivisionError

    async with dig.FileHost(file_callback=failing) as host:
        with pytest.raises((dig.DigNatContentNotFoundError, dig.DigNatNoPeersError)):
            await dig.download_file(
                "generated", peers=[f"127.0.0.1:{host.port}"], save_path=tmp_path / "x", discover=False, timeout=2.0
            )
    assert reported and isinstance(reported[0]["exception"], ZeroDivisionError)
    assert "generated" in reported[0]["message"]


def test_blocking_callback(tmp_path):
    threads = set()

    def callback(request: dig.CallbackRequest) -> list[bytes] | None:
        threads.add(threading.current_thread())
        return chunks(request)

    with dig.sync.FileHost(file_callback=callback) as host:
        dig.sync.download_file(
            "generated", peers=[f"127.0.0.1:{host.port}"], save_path=tmp_path / "copy", discover=False
        )
    assert (tmp_path / "copy").read_bytes() == CONTENT
    assert threads and threading.main_thread() not in threads
