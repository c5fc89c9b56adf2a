"""Looking at the NAT: any node answers STUN on its UDP port, so a host on loopback is the server here."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest
from conftest import DEADLINE, PACKAGE

import dig_nat_tools as dig
from dig_nat_tools import sync


def at(node: dig.FileHost | sync.FileHost) -> str:
    return f"127.0.0.1:{node.port}"


async def test_public_addresses_come_from_the_named_servers():
    async with dig.FileHost() as server:
        for servers in ([at(server)], [f"stun:{at(server)}"]):
            found = await dig.discover_public_ips(stun_servers=servers, timeout=3.0)
            assert found == dig.PublicIps(ipv4="127.0.0.1", ipv6=None)


async def test_nobody_to_ask():
    assert await dig.discover_public_ips() == dig.PublicIps(ipv4=None, ipv6=None)
    with pytest.raises(dig.DigNatInvalidArgumentError, match="stunServers"):
        await dig.detect_nat_type()


async def test_the_nat_is_examined():
    async with dig.FileHost() as one, dig.FileHost() as two:
        profile = await dig.detect_nat_type(stun_servers=[at(one), at(two)], timeout=3.0)
    assert profile.public_v4 is not None and profile.public_v4.startswith("127.0.0.1:")
    assert (profile.translated, profile.mapping) == (False, "endpoint-independent")
    assert (profile.symmetric, profile.udp_blocked, profile.double_nat) == (False, False, None)
    assert profile.nat_type in ("public", "firewall", "untranslated")


async def test_wrong_options_are_named():
    with pytest.raises(dig.DigNatInvalidArgumentError, match="stunServers"):
        await dig.discover_public_ips(stun_servers=["turn:nonsense:x"])
    with pytest.raises(dig.DigNatInvalidArgumentError, match="stun_server"):
        await dig.detect_nat_type(stun_server="x")
    with pytest.raises(dig.DigNatInvalidArgumentError, match="timeout"):
        await dig.detect_nat_type(timeout=0.01)


async def test_cancelling_ends_it():
    # Port 9: nobody answers there, so it would take the whole minute.
    running = asyncio.ensure_future(dig.detect_nat_type(stun_servers=["127.0.0.1:9"], timeout=60.0))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.mark.parametrize("create", [dig.FileHost, dig.FileClient, dig.NetworkManager])
async def test_a_node_finds_out_its_nat(create):
    async with dig.FileHost() as server:
        node = create(stun_servers=[at(server)])
        assert node.nat_profile is None
        events = node.events()
        async with node:
            async for event in events:
                if isinstance(event, dig.events.NatDetectedEvent):
                    break
            assert event.public_v4 == f"127.0.0.1:{node.port}"
            profile = node.nat_profile
            assert (profile.nat_type, profile.public_v4) == (event.nat_type, event.public_v4)


async def test_a_host_behind_a_relay_tells_its_address_there():
    relay = dig.FileHost(relay_server=True)
    await relay.start()
    address = next(address for address in relay.addresses if "/tcp/" in address)
    host = dig.FileHost(relays=[address])
    events = host.events()
    async with host:
        async for event in events:
            if isinstance(event, dig.events.RelayReservedEvent):
                assert event.address.startswith(address) and "/p2p-circuit" in event.address
                reserved = event.address
                await relay.stop()
            if isinstance(event, dig.events.RelayLostEvent):
                assert event.address == reserved
                break


def test_blocking_calls():
    with sync.FileHost() as server:
        assert sync.discover_public_ips(stun_servers=[at(server)]) == dig.PublicIps(ipv4="127.0.0.1", ipv6=None)
        assert sync.detect_nat_type(stun_servers=[at(server)], timeout=3.0).translated is False
        client = sync.FileClient(stun_servers=[at(server)])
        assert client.nat_profile is None
        events = client.events()
        with client:
            next(event for event in events if isinstance(event, dig.events.NatDetectedEvent))
            assert client.nat_profile is not None


def test_port_allocations_are_records():
    raw = {"natType": "symmetric", "allocation": {"kind": "sequential", "step": -2}}
    profile = dig.records.nat_profile(raw)
    assert profile.allocation == dig.PortAllocation("sequential", step=-2)


async def test_wrong_mappings_are_refused():
    with pytest.raises(dig.DigNatInvalidArgumentError, match="protocol"):
        await dig.create_upnp_mapping(internal_port=1, protocol="SCTP")
    with pytest.raises(dig.DigNatInvalidArgumentError, match="internalPort"):
        await dig.create_upnp_mapping(external_port=1)
    with pytest.raises(dig.DigNatInvalidArgumentError, match="externalPort"):
        await dig.delete_upnp_mapping()
    with pytest.raises(dig.DigNatInvalidArgumentError, match="timeout"):
        await dig.external_address_upnp(timeout=-1.0)


# A network of its own with nothing in it, so that no router of a developer is ever asked.
UNSHARE = ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-c"]


def missing_namespaces() -> str | None:
    """Why a program cannot be given a network of its own here, if so. CI must give it one."""
    if os.environ.get("CI") == "true":
        return None
    try:
        subprocess.run([*UNSHARE, ""], check=True, capture_output=True, text=True, timeout=DEADLINE)
    except FileNotFoundError:
        return "the program unshare is missing (Linux, package util-linux)"
    except subprocess.CalledProcessError as error:
        return f"this system forbids user namespaces: {error.stderr.strip()}"
    return None


@pytest.mark.skipif(missing_namespaces() is not None, reason=str(missing_namespaces()))
def test_without_a_router_there_is_no_mapping():
    program = """
from dig_nat_tools import DigNatError, sync as dig
try:
    dig.create_upnp_mapping(internal_port=8080, timeout=0.5)
except DigNatError as error:
    print(error.code)
print(dig.external_address_upnp(0.5))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), *filter(None, sys.path)])}
    done = subprocess.run([*UNSHARE, program], env=environment, capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 0, done.stderr
    code, outside = done.stdout.split()
    assert code in ("ERR_PEER_UNREACHABLE", "ERR_TIMEOUT") and outside == "None"
