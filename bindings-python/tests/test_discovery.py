"""Finding and announcing without hosting. Only the local network takes part."""

from __future__ import annotations

import pytest

import dig_nat_tools as dig
from dig_nat_tools import sync

LOCAL = {"dht_enabled": False, "pex_enabled": False, "gun_enabled": False}
HASH = "0123456789abcdef" * 4


async def test_what_is_announced_is_found_until_it_is_withdrawn(sample):
    shared = sample()
    async with dig.FileHost(local_enabled=False) as host, dig.PeerDiscoveryManager(**LOCAL) as manager:
        other = dig.PeerDiscoveryManager(**LOCAL)
        await host.add_file(shared.path)
        await manager.announce(shared.hash, content_id="an id")
        assert manager.hash_for_content("an id") == shared.hash
        assert manager.content_for_hash(shared.hash) == "an id"
        found = await other.find_peers("an id", max_peers=1, timeout=30.0)
        assert [(peer.id, peer.source) for peer in found] == [(manager.peer_id, "local")]
        assert [peer.id for peer in other.peers(key="an id", source="local")] == [manager.peer_id]
        assert other.peers(source="dht") == []
        with pytest.raises(dig.DigNatInvalidArgumentError, match="port"):
            await manager.announce(shared.hash, port=1)
        with pytest.raises(dig.DigNatInvalidArgumentError, match="priority"):
            await manager.announce(shared.hash, priority="urgent")
        assert await manager.withdraw(shared.hash) is True
        assert await manager.withdraw(shared.hash) is False
        assert other.shard_prefixes() == host.shard_prefixes() == []
        await other.stop()


async def test_the_announced_host_is_found(sample):
    shared = sample()
    async with dig.FileHost(**LOCAL) as host, dig.PeerDiscoveryManager(**LOCAL) as manager:
        await manager.announce(HASH, port=host.port)
        async with dig.FileClient(**LOCAL) as client:
            found = await client.find_peers(HASH, max_peers=1, timeout=30.0)
            assert [peer.id for peer in found] == [host.peer_id]
        await host.add_file(shared.path, content_id="told by the host")
        assert await manager.find_hash("told by the host", timeout=30.0) == shared.hash
        assert await manager.find_hash("an id of nobody", timeout=0.2) is None


async def test_a_mapped_id_is_searched_for_by_its_hash():
    async with dig.PeerDiscoveryManager(**LOCAL) as holder, dig.FileClient(**LOCAL) as client:
        await holder.announce(HASH)
        async with dig.PeerDiscoveryManager(**LOCAL) as manager:
            for node in (client, manager):
                node.add_content_mapping("a readable id", HASH)
                found = await node.find_peers("a readable id", max_peers=1, timeout=30.0)
                assert [peer.id for peer in found] == [holder.peer_id]
            assert [peer.id for peer in manager.peers(key="a readable id")] == [holder.peer_id]


def test_so_many_peers_are_remembered_as_the_options_say():
    for options, most in [({}, 30), ({"max_known_peers": 7}, 7), ({"max_cached_peers_per_hash": 5}, 5)]:
        with sync.PeerDiscoveryManager(**LOCAL, local_enabled=False, **options) as manager:
            for port in range(1, 31):
                manager.add_peer(f"127.0.0.1:{port}", HASH)
            assert len(manager.peers(key=HASH)) == most


def test_nothing_is_kept_against_the_switch(tmp_path):
    for enabled in (True, None, False):
        directory = tmp_path / str(enabled)
        with sync.PeerDiscoveryManager(
            **LOCAL, local_enabled=False, persistence_dir=directory, enable_persistence=enabled
        ):
            pass
        assert directory.exists() == (enabled is not False)


async def test_an_announcement_has_a_lifetime():
    async with dig.PeerDiscoveryManager(**LOCAL) as manager:
        await manager.announce(HASH, ttl=3600.0)
        with pytest.raises(dig.DigNatInvalidArgumentError, match="ttl"):
            await manager.announce(HASH, ttl=0.5)
        with pytest.raises(dig.DigNatInvalidArgumentError, match="lifetime"):
            await manager.announce(HASH, lifetime=3600.0)
        assert await manager.withdraw(HASH) is True


async def test_a_search_in_the_background_is_heard_of():
    async with dig.PeerDiscoveryManager(**LOCAL) as seeker, dig.PeerDiscoveryManager(**LOCAL) as manager:
        events = seeker.events()
        assert seeker.watch(HASH, "high")
        with pytest.raises(dig.DigNatInvalidArgumentError, match="priority"):
            seeker.watch(HASH, "urgent")
        await manager.announce(HASH)
        async for event in events:
            if isinstance(event, dig.events.PeerDiscoveredEvent):
                break
        assert (event.id, event.source, event.key) == (manager.peer_id, "local", HASH)
        assert seeker.unwatch(HASH) and not seeker.unwatch(HASH)
    with pytest.raises(dig.DigNatInvalidStateError):
        seeker.watch(HASH)


def test_the_blocking_form():
    with sync.PeerDiscoveryManager(**LOCAL) as one, sync.PeerDiscoveryManager(**LOCAL) as other:
        assert one.port > 0 and one.addresses
        one.announce(HASH)
        assert [peer.id for peer in other.find_peers(HASH, max_peers=1, timeout=30.0)] == [one.peer_id]
        other.add_peer("127.0.0.1:9", HASH)
        (named,) = other.peers(source="manual")
        assert (named.address, named.port) == ("127.0.0.1", 9)
        other.add_content_mapping("mine", HASH)
        assert other.find_hash("mine") == HASH and other.content_for_hash(HASH) == "mine"
        assert other.remove_content_mapping("mine") and not other.remove_content_mapping("mine")
        assert other.hash_for_content("mine") is None
        assert one.withdraw(HASH)
    assert one.port == 0


def test_a_shard_host_says_which_part_it_keeps():
    with sync.FileHost(is_shard_host=True, shard_prefixes=["00", "0a"], local_enabled=False) as host:
        assert host.shard_prefixes() == ["00", "0a"]


async def test_nodes_near_a_place_are_found():
    only = {"local_enabled": False, "pex_enabled": False, "gun_enabled": False}
    async with dig.PeerDiscoveryManager(**only) as first:
        async with dig.PeerDiscoveryManager(**only, bootstrap_nodes=[f"127.0.0.1:{first.port}"]) as other:
            for target in [first.peer_id, HASH, "a readable id"]:
                near = await other.find_node(target, timeout=30.0)
                assert [(node.id, node.source) for node in near] == [(first.peer_id, "dht")]
    async with dig.PeerDiscoveryManager(dht_enabled=False, **only) as without:
        with pytest.raises(dig.DigNatInvalidStateError, match="dhtEnabled"):
            await without.find_node(HASH)


def test_wrong_options_are_named():
    for options, name in [({"upload_slots": 3}, "upload_slots"), ({"node_type": "huge"}, "nodeType")]:
        with pytest.raises(dig.DigNatInvalidArgumentError, match=name):
            dig.PeerDiscoveryManager(**options)
