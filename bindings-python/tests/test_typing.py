"""The stubs describe the module that was built, and the package passes mypy --strict, as do programs that use it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy")

FOLDER = Path(__file__).resolve().parent.parent
DEADLINE = 300.0

PROGRAM = """
import asyncio
import dig_nat_tools as dig
from dig_nat_tools import sync

async def main() -> None:
    async with dig.create_file_host(port=0, enable_udp=False) as host, dig.FileClient() as client:
        info: dig.FileInfo = await host.add_file("a", content_id="b")
        result: dig.DownloadResult = await client.download(info.hash, save_path="x", timeout=1.5)
        rate: float = result.peers["x"].rate
        host.has_file(5)  # type: ignore[arg-type]
        await client.download(info.hash, savepath="x")  # type: ignore[call-arg]
        await client.download(info.hash, save_path=5)  # type: ignore[arg-type]
        async for event in host.events():
            if isinstance(event, dig.events.PeerBannedEvent):
                reason: str = event.reason
    node = await dig.FileHost()
    reveal: str = node.host_id

def blocking() -> dig.DownloadResult:
    with sync.FileClient(light_node=True) as client:
        return client.download("x", on_progress=lambda progress: progress.fraction)
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(FOLDER / "python"), "MYPYPATH": str(FOLDER / "python")}
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=FOLDER, env=environment, capture_output=True, text=True, timeout=DEADLINE)


def test_stubs_match_the_module(tmp_path):
    # Not pyproject.toml, which fixes the oldest Python: the module is compared as this Python sees it.
    config = tmp_path / "mypy.ini"
    config.write_text("[mypy]\nstrict = true\n", encoding="utf-8")
    done = run("mypy.stubtest", "dig_nat_tools", "--mypy-config-file", str(config))
    assert done.returncode == 0, done.stdout + done.stderr


def test_package_is_strictly_typed():
    done = run("mypy", "--config-file", "pyproject.toml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_programs_are_checked(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    done = run("mypy", "--strict", "--config-file=", str(program))
    assert done.returncode == 0, done.stdout + done.stderr


def test_marker_file_is_there():
    assert (FOLDER / "python" / "dig_nat_tools" / "py.typed").is_file()
