"""What a node tells its user while it works: one class per kind of event, all derived from :class:`Event`.

::

    async for event in host.events():
        match event:
            case PeerBannedEvent(peer=peer, reason=reason): ...
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from .records import ErrorRecord, build

__all__ = [
    "Event",
    "FileAddedEvent",
    "FileChangedEvent",
    "FileRemovedEvent",
    "HashingEvent",
    "LaggedEvent",
    "NatDetectedEvent",
    "PeerBannedEvent",
    "PeerConnectedEvent",
    "PeerDisconnectedEvent",
    "PeerDiscoveredEvent",
    "PortLostEvent",
    "PortMappedEvent",
    "RelayLostEvent",
    "RelayReservedEvent",
    "StartedEvent",
    "StoppedEvent",
    "UnknownEvent",
    "WarningEvent",
]


@dataclass(frozen=True)
class Event:
    """Something that happened in a node."""

    type: ClassVar[str] = ""
    """The name all languages share, e.g. ``peer:connected``."""


@dataclass(frozen=True)
class StartedEvent(Event):
    """The node listens."""

    type = "started"
    peer_id: str
    """This node's id."""
    port: int
    """The bound port."""
    addresses: tuple[str, ...]
    """Where it listens: multiaddrs with the peer id."""


@dataclass(frozen=True)
class StoppedEvent(Event):
    """The node has stopped. The last event."""

    type = "stopped"


@dataclass(frozen=True)
class PeerConnectedEvent(Event):
    """A connection to a peer was made or accepted."""

    type = "peer:connected"
    peer: str
    """Who."""
    address: str
    """Its address."""
    connection_type: str
    """``tcp`` or ``udp``."""


@dataclass(frozen=True)
class PeerDisconnectedEvent(Event):
    """The last connection to a peer ended."""

    type = "peer:disconnected"
    peer: str
    """Who."""


@dataclass(frozen=True)
class PeerDiscoveredEvent(Event):
    """Somebody who may have a searched content was found."""

    type = "peer:discovered"
    id: str
    """Its id, or its address while the id is unknown."""
    address: str
    """Host part of its best address."""
    port: int
    """Port of its best address."""
    source: str
    """``local``, ``manual``, ..."""
    confidence: float
    """Trust in the record, 0 to 1."""
    key: str
    """The content, as searched for."""


@dataclass(frozen=True)
class PeerBannedEvent(Event):
    """A peer was caught giving false data or a false description and is banned."""

    type = "peer:banned"
    peer: str
    """Who."""
    hash: str
    """The file."""
    reason: str
    """What it did."""


@dataclass(frozen=True)
class HashingEvent(Event):
    """Hashing of shared files proceeds."""

    type = "hashing"
    files: int
    """Files done."""
    total_files: int
    """Files in all."""
    bytes: int
    """Bytes done."""
    total_bytes: int
    """Bytes in all."""


@dataclass(frozen=True)
class FileAddedEvent(Event):
    """A file is shared now."""

    type = "file:added"
    hash: str
    """Its SHA-256 in hex."""
    path: Path
    """Its path."""
    size: int
    """Its size in bytes."""
    content_id: str | None
    """Its readable id."""


@dataclass(frozen=True)
class FileRemovedEvent(Event):
    """A file is no longer shared."""

    type = "file:removed"
    hash: str
    """Its SHA-256 in hex."""
    path: Path
    """Its path."""


@dataclass(frozen=True)
class FileChangedEvent(Event):
    """A shared file changed on disk and is not served any more."""

    type = "file:changed"
    hash: str
    """The SHA-256 it had."""
    path: Path
    """Its path."""


@dataclass(frozen=True)
class NatDetectedEvent(Event):
    """It is known what stands between this node and the internet; its ``nat_profile`` has the rest."""

    type = "nat:detected"
    nat_type: str
    """``public``, ``full-cone``, ``port-restricted``, ``symmetric``, ``udp-blocked``, ..."""
    public_v4: str | None
    """Our IPv4 endpoint (``host:port``) as the internet sees it."""
    public_v6: str | None
    """Our IPv6 endpoint as the internet sees it."""


@dataclass(frozen=True)
class PortMappedEvent(Event):
    """The router forwards a port to this node."""

    type = "port:mapped"
    protocol: str
    """``tcp`` or ``udp``."""
    internal_port: int
    """This node's port."""
    external: str
    """The router's address and port (``host:port``)."""
    method: str
    """``PCP``, ``NAT-PMP`` or ``UPnP``."""
    reachable: bool
    """Whether others can be expected to reach it: not when the router itself stands behind a NAT."""


@dataclass(frozen=True)
class PortLostEvent(Event):
    """The router no longer forwards a port; it is asked again."""

    type = "port:lost"
    protocol: str
    """``tcp`` or ``udp``."""
    internal_port: int
    """This node's port."""
    reason: str
    """Why."""


@dataclass(frozen=True)
class RelayReservedEvent(Event):
    """A relay holds a place for this node, which can be reached through it."""

    type = "relay:reserved"
    address: str
    """The address to give to others."""


@dataclass(frozen=True)
class RelayLostEvent(Event):
    """A relay no longer holds a place for this node; it is asked again."""

    type = "relay:lost"
    address: str
    """The address that no longer works."""


@dataclass(frozen=True)
class WarningEvent(Event):
    """A file or message could not be handled; the node goes on."""

    type = "warning"
    error: ErrorRecord
    """What happened."""


@dataclass(frozen=True)
class LaggedEvent(Event):
    """The subscriber was too slow; so many events were left out."""

    type = "lagged"
    missed: int
    """How many."""


@dataclass(frozen=True)
class UnknownEvent(Event):
    """An event that this version of the package has no class for."""

    raw: Mapping[str, Any] = field(default_factory=dict)
    """Its fields, ``type`` included, with the names they have in JSON."""


_CLASSES: dict[str, type[Event]] = {cls.type: cls for cls in Event.__subclasses__() if cls.type}


def event(raw: Mapping[str, Any]) -> Event:
    """The event for core's JSON."""
    cls = _CLASSES.get(raw["type"])
    if cls is None:
        return UnknownEvent(raw=raw)
    changed: dict[str, Any] = {}
    if cls is StartedEvent:
        changed["addresses"] = tuple(raw["addresses"])
    if cls is WarningEvent:
        changed["error"] = build(ErrorRecord, raw["error"])
    if "path" in raw:
        changed["path"] = Path(raw["path"])
    return build(cls, raw, **changed)
