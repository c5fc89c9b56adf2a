"""What all tests share: loopback only, a deadline for each coroutine, files of known content, scripts in a child."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import os
import random
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Before the package is imported anywhere: no test leaves this machine.
os.environ["DIG_NAT_LOCAL_ONLY"] = "1"
os.environ["DIG_NAT_INTERFACES"] = "lo"

import pytest

DEADLINE = 60.0
"""Seconds until a test that waits for something is a failure. Nothing sleeps for it; slow machines need room."""

PACKAGE = Path(__file__).resolve().parent.parent / "python" / "dig_nat_tools"


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs ``async def`` tests on a loop of their own, with a deadline."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}

    async def main() -> None:
        await asyncio.wait_for(pyfuncitem.obj(**arguments), DEADLINE)

    asyncio.run(main(), debug=True)
    return True


@dataclass(frozen=True)
class Sample:
    """A file of known content."""

    path: Path
    data: bytes
    hash: str


@pytest.fixture
def sample(tmp_path: Path) -> Callable[..., Sample]:
    """Makes files below ``tmp_path/shared``: ``sample(size, name)``."""

    def make(size: int = 300_000, name: str = "sample.bin") -> Sample:
        path = tmp_path / "shared" / name
        path.parent.mkdir(exist_ok=True)
        data = random.Random(f"{name} {size}").randbytes(size)
        path.write_bytes(data)
        return Sample(path, data, hashlib.sha256(data).hexdigest())

    return make


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a program in a fresh interpreter, with ``DIR`` set to ``tmp_path``."""

    def run(source: str, *, flags: tuple[str, ...] = ("-W", "error")) -> subprocess.CompletedProcess[str]:
        paths = [str(PACKAGE.parent), *sys.path]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "DIR": str(tmp_path)}
        program: Any = [sys.executable, *flags, "-c", textwrap.dedent(source)]
        return subprocess.run(program, env=environment, capture_output=True, text=True, timeout=DEADLINE)

    return run
