"""Starts coturn's ``turnserver`` on loopback for a test. Not here: tests."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

USER = "user"
PASSWORD = "pass"

START = 20.0
"""Seconds a server may take to answer."""


def missing_turnserver() -> str | None:
    """Why there is no TURN server here, if so. CI must have one."""
    if os.environ.get("CI"):
        return None
    return None if shutil.which("turnserver") else "turnserver (package coturn) is not installed"


def free_port() -> int:
    """A port that is free for TCP and UDP, below the system's own range."""
    while True:
        port = random.randrange(12_000, 30_000)
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp, contextlib.suppress(OSError):
            tcp.bind(("127.0.0.1", port))
            udp.bind(("127.0.0.1", port))
            return port


@contextlib.contextmanager
def turnserver(folder: Path) -> Iterator[str]:
    """A running server: its URL."""
    port = free_port()
    arguments = ["-n", "--no-cli", "--no-dtls", "--no-tls", "-L", "127.0.0.1", "-r", "example.org", "-a"]
    arguments += ["--allow-loopback-peers", "--log-file", "stdout", "--simple-log", "-u", f"{USER}:{PASSWORD}"]
    arguments += ["-p", str(port), "--userdb", str(folder / "users"), "--pidfile", str(folder / "pid")]
    log = folder / "turnserver.log"
    with log.open("wb") as output:
        server = subprocess.Popen(["turnserver", *arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + START
        while not accepts(port):
            assert server.poll() is None, f"turnserver ended:\n{log.read_text()}"
            assert time.monotonic() < deadline, f"turnserver does not answer:\n{log.read_text()}"
            time.sleep(0.02)
        yield f"turn:127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
