"""Finding and announcing without hosting or downloading, as blocking calls; :mod:`dig_nat_tools.sync` exports it.

Not here: the ways of discovery, which the options switch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import _native, records
from ._sync_node import Started
from ._encode import encode, milliseconds
from ._running import run_blocking
from .records import DiscoveredPeer

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .options import AnnounceKeywords, DiscoveryKeywords, FindKeywords, KnownPeersKeywords

__all__ = ["PeerDiscoveryManager"]


class PeerDiscoveryManager(Started[_native.PeerDiscoveryManager]):
    """All ways of discovery, or those that ``dht_enabled``, ``pex_enabled``, ``local_enabled`` and ``gun_enabled`` leave on."""

    def __init__(self, **options: Unpack[DiscoveryKeywords]) -> None:
        super().__init__(_native.PeerDiscoveryManager(encode(options)))

    @property
    def addresses(self) -> list[str]:
        """Multiaddrs to reach this node, with its peer id. Empty before the start."""
        return self._native.addresses()

    def announce(self, key: str, **options: Unpack[AnnounceKeywords]) -> None:
        """Makes a host of this process findable under a hash or readable id until :meth:`withdraw` or the end: the one
        that listens on ``port``, or this object itself. Starts this object; announcements are renewed by themselves.

        Raises :class:`~dig_nat_tools.DigNatInvalidArgumentError` when nothing of this process listens on the port.
        """
        run_blocking(self._native.announce(key, encode(options)))

    def withdraw(self, key: str) -> bool:
        """Takes an announcement back; ``False`` when there was none."""
        return run_blocking(self._native.withdraw(key))

    def watch(self, key: str, priority: str = "medium") -> bool:
        """Searches for a key in the background from now on; finds are :class:`~dig_nat_tools.events.PeerDiscoveredEvent`.

        Of too many keys those of lowest ``priority`` (``low``, ``medium``, ``high``) give way; ``False`` when that is
        this one. Raises :class:`~dig_nat_tools.DigNatInvalidStateError` before the start.
        """
        return self._native.watch(key, priority)

    def unwatch(self, key: str) -> bool:
        """Ends a search in the background; ``False`` when there was none."""
        return self._native.unwatch(key)

    def find_peers(self, key: str, **options: Unpack[FindKeywords]) -> list[DiscoveredPeer]:
        """Looks for peers that have a content. Finding nobody is an empty list."""
        found = run_blocking(self._native.find_peers(key, encode(options)))
        return [records.discovered_peer(raw) for raw in found]

    def peers(self, **options: Unpack[KnownPeersKeywords]) -> list[DiscoveredPeer]:
        """The peers known now, best first; nobody is asked. Empty before the start."""
        return [records.discovered_peer(raw) for raw in self._native.peers(encode(options))]

    def add_peer(self, peer: str, key: str | None = None) -> None:
        """Remembers a peer (``host:port``, multiaddr or peer id) for all searches, or for those for ``key``."""
        self._native.add_peer(peer, key)

    def find_hash(self, content_id: str, timeout: float = 5.0) -> str | None:
        """The hash behind a readable id: known here, told by Gun, or by a peer that has it, whichever is first.

        ``None`` when nobody says within ``timeout`` seconds.
        """
        return run_blocking(self._native.find_hash(content_id, milliseconds("timeout", timeout)))

    def remove_content_mapping(self, content_id: str) -> bool:
        """Takes a readable id away, and back from where it was told; ``False`` when there was none."""
        return run_blocking(self._native.remove_content_mapping(content_id))

    def find_node(self, target: str, timeout: float = 5.0) -> list[DiscoveredPeer]:
        """The nodes of the hash table nearest to a place in it, nearest first: that of a peer id, or where a hash or
        readable id is kept.

        Raises :class:`~dig_nat_tools.DigNatInvalidStateError` without ``dht_enabled``.
        """
        found = run_blocking(self._native.find_node(target, milliseconds("timeout", timeout)))
        return [records.discovered_peer(raw) for raw in found]

    def content_for_hash(self, hash: str) -> str | None:
        """The readable id of a hash."""
        return self._native.content_for_hash(hash)

    def shard_prefixes(self) -> list[str]:
        """The parts of the hash table that it keeps for others as a shard host; none elsewhere and before the start."""
        return self._native.shard_prefixes()
