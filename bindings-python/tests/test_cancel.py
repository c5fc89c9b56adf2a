"""Cancelling an awaiting task cancels the work in the engine, and the await ends when the work has ended."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

import pytest

import dig_nat_tools as dig

SIZE = 8_000_000
SLOW = 200_000
"""Bytes per second of the slow host: the whole file would take 40 seconds."""


async def slow_download(host, client, shared, target, seen, **options):
    def on_progress(report):
        if report.bytes > 0:
            seen.set()

    return await client.download(
        shared.hash, peers=[f"127.0.0.1:{host.port}"], save_path=target, on_progress=on_progress, **options
    )


async def test_cancelled_download_ends_and_resumes(sample, tmp_path):
    shared = sample(SIZE)
    target = tmp_path / "copy"
    async with dig.FileHost(upload_limit=SLOW) as slow, dig.FileHost() as fast, dig.FileClient() as client:
        await slow.add_file(shared.path)
        await fast.add_file(shared.path)
        seen = asyncio.Event()
        task = asyncio.create_task(slow_download(slow, client, shared, target, seen, discover=False))
        await seen.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not target.exists()
        # Had the first download gone on, its part file would be locked: FileBusy.
        result = await client.download(
            shared.hash, peers=[f"127.0.0.1:{fast.port}"], save_path=target, discover=False
        )
        assert result.resumed_bytes > 0
    assert target.read_bytes() == shared.data


async def test_timeouts_of_asyncio_work(sample, tmp_path):
    shared = sample(SIZE)
    async with dig.FileHost(upload_limit=SLOW) as host, dig.FileClient() as client:
        await host.add_file(shared.path)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(
                slow_download(host, client, shared, tmp_path / "copy", asyncio.Event(), discover=False), 1.0
            )


async def test_stopping_the_node_ends_its_downloads_with_an_exception(sample, tmp_path):
    shared = sample(SIZE)
    async with dig.FileHost(upload_limit=SLOW) as host:
        await host.add_file(shared.path)
        client = await dig.create_file_client()
        seen = asyncio.Event()
        task = asyncio.create_task(slow_download(host, client, shared, tmp_path / "copy", seen, discover=False))
        await seen.wait()
        await client.stop()
        # Not asyncio.CancelledError: nobody cancelled the task.
        with pytest.raises(dig.DigNatCancelledError):
            await task


async def test_exception_in_on_progress_cancels_and_comes_out(sample, tmp_path):
    shared = sample(SIZE)

    class Enough(Exception):
        pass

    def on_progress(report):
        if report.bytes > 0:
            raise Enough

    async with dig.FileHost(upload_limit=SLOW) as host, dig.FileClient() as client:
        await host.add_file(shared.path)
        with pytest.raises(Enough):
            await client.download(
                shared.hash, peers=[f"127.0.0.1:{host.port}"], save_path=tmp_path / "copy", on_progress=on_progress
            )
    assert not (tmp_path / "copy").exists()


async def test_cancelled_start_leaves_nothing_running():
    host = dig.FileHost()
    task = asyncio.create_task(host.start())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert host.port == 0


async def test_hashing_can_be_cancelled(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    task = asyncio.create_task(dig.calculate_sha256_file(fifo))
    # Opening for writing returns when the worker has opened it for reading: it is in the middle of its work.
    writer = await asyncio.to_thread(open, fifo, "wb")
    task.cancel()
    await asyncio.sleep(0)
    writer.close()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cancelled_wait_for_a_message_loses_none():
    async with dig.NetworkManager() as one, dig.NetworkManager() as two:
        there = await one.connect(f"127.0.0.1:{two.port}")
        here = await two.accept()
        got = []
        for number in range(50):
            task = asyncio.create_task(here.receive())
            await asyncio.sleep(0)
            sending = asyncio.create_task(there.send(str(number)))
            task.cancel()
            try:
                message = await task
            except asyncio.CancelledError:
                message = await here.receive()
            got.append(message.data)
            await sending
        assert got == [str(number) for number in range(50)]
        await there.close()


async def test_late_end_on_a_closed_loop_is_silent(script):
    done = await asyncio.to_thread(
        script,
        """
        import asyncio
        from dig_nat_tools import aio, sync

        host = sync.FileHost()
        loop = asyncio.new_event_loop()
        task = loop.create_task(aio.EventStream(host._native.subscribe()).__anext__())
        loop.run_until_complete(asyncio.sleep(0))
        task._log_destroy_pending = False
        loop.close()
        host.start()  # the event arrives for a closed loop
        host.stop()
        print("done")
        """,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_ctrl_c_cancels_a_blocking_call():
    # Python leaves out its own handler where the program was started with this signal ignored, as shells do in the background.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        interrupt_a_blocking_call()
    finally:
        signal.signal(signal.SIGINT, before)


def interrupt_a_blocking_call():
    with dig.sync.FileHost() as host:
        events = host.events()
        timer = threading.Timer(0.2, signal.raise_signal, [signal.SIGINT])
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            events.next(timeout=30.0)
        timer.join()
