"""Fork, exit and silence of whole processes."""

from __future__ import annotations

import os

import pytest

SHARE = """
import os, hashlib
from pathlib import Path
data = os.urandom(300_000)
path = Path(os.environ["DIR"], "shared.bin")
path.write_bytes(data)
"""


def ended_well(done, stdout=""):
    assert (done.returncode, done.stdout, done.stderr) == (0, stdout, "")


def test_blocking_script_that_never_stops(script):
    ended_well(
        script(
            """
            from dig_nat_tools import sync
            host = sync.create_file_host()
            client = sync.create_file_client()
            manager = sync.create_network_manager()
            """,
            flags=(),
        )
    )


def test_asyncio_script_that_never_stops(script):
    ended_well(
        script(
            SHARE
            + """
import asyncio
import dig_nat_tools as dig

async def main():
    host = await dig.create_file_host()
    info = await host.add_file(path)
    client = await dig.create_file_client()
    await client.download(info.hash, peers=[f"127.0.0.1:{host.port}"], save_path=path.with_name("copy"))
    assert path.with_name("copy").read_bytes() == data
    globals().update(host=host, client=client)

asyncio.run(main())
""",
            flags=(),
        )
    )


def test_exit_during_a_download(script):
    """The interpreter ends while a thread waits for the engine; the exit code is kept."""
    done = script(
        SHARE
        + """
import sys, threading
from dig_nat_tools import sync
path.write_bytes(bytes(8_000_000))
host = sync.create_file_host(upload_limit=200_000)
info = host.add_file(path)
seen = threading.Event()

def fetch():
    try:
        sync.download_file(
            info.hash, peers=[f"127.0.0.1:{host.port}"], save_path=path.with_name("copy"),
            on_progress=lambda p: p.bytes and seen.set(),
        )
    except Exception:
        pass

threading.Thread(target=fetch, daemon=True).start()
seen.wait()
sys.exit(7)
""",
        flags=(),
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "")


def test_exit_with_waiting_tasks(script):
    ended_well(
        script(
            """
            import asyncio
            import dig_nat_tools as dig

            async def main():
                manager = await dig.create_network_manager()
                globals().update(manager=manager, waiting=asyncio.create_task(manager.accept()))
                await asyncio.sleep(0)

            asyncio.run(main())
            """,
            flags=(),
        )
    )


def test_uncaught_exception_keeps_its_exit_code(script):
    done = script("from dig_nat_tools import sync\nhost = sync.create_file_host()\nraise SystemExit(3)", flags=())
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork(script):
    done = script(
        SHARE
        + """
import asyncio
import dig_nat_tools as dig
from dig_nat_tools import sync

host = sync.create_file_host()
info = host.add_file(path)
events = host.events()
peers = [f"127.0.0.1:{host.port}"]
pending = host._native.subscribe().next()

child = os.fork()
if child == 0:
    status = 1
    try:
        for use in (lambda: host.port, host.stop, lambda: host.add_file(path), lambda: events.next(1.0),
                    lambda: pending.poll(), pending.cancel):
            try:
                use()
            except dig.DigNatInvalidStateError as error:
                assert "fork" in str(error), error
            else:
                raise AssertionError("an object of the parent worked in the child")
        del host, events, pending
        # New objects get a runtime of their own, for both packages.
        own = sync.create_file_host()
        own.add_file(path)
        for source in (peers, [f"127.0.0.1:{own.port}"]):
            copy = path.with_name(f"copy-{source[0][-5:]}")
            asyncio.run(dig.download_file(info.hash, peers=source, save_path=copy, discover=False))
            assert copy.read_bytes() == data
        own.stop()
        status = 0
    finally:
        # Past atexit, as multiprocessing does.
        os._exit(status)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
# The parent is as before.
assert host.has_file(info.hash)
sync.download_file(info.hash, peers=peers, save_path=path.with_name("copy"), discover=False)
host.stop()
print("parent done")
""",
        flags=("-W", "error", "-W", "ignore::DeprecationWarning"),
    )
    ended_well(done, "parent done\n")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_child_that_exits_normally(script):
    done = script(
        """
        import os, sys
        from dig_nat_tools import sync
        host = sync.create_file_host()
        child = os.fork()
        if child == 0:
            sys.exit(5)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
        host.stop()
        """,
        flags=("-W", "error", "-W", "ignore::DeprecationWarning"),
    )
    ended_well(done)


def test_import_starts_no_thread_and_configures_no_logging(script):
    ended_well(
        script(
            """
            import logging, os, signal, sys, threading
            before = {number: signal.getsignal(number) for number in signal.valid_signals()}
            import dig_nat_tools as dig
            host = dig.FileHost(directory="/nonexistent")
            assert host.port == 0
            assert threading.active_count() == 1
            assert logging.getLogger().handlers == []
            assert before == {number: signal.getsignal(number) for number in signal.valid_signals()}
            """
        )
    )


def test_debug_mode_finds_nothing(script):
    """Unawaited coroutines, unclosed resources and slow callbacks would be on stderr."""
    done = script(
        """
        import asyncio
        import dig_nat_tools as dig

        async def main():
            async with dig.FileHost() as host, dig.NetworkManager() as manager:
                assert host.port and manager.port

        asyncio.run(main(), debug=True)
        """,
        flags=("-X", "dev", "-W", "error"),
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr and "Error" not in done.stderr, done.stderr
