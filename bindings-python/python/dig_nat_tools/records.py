"""The plain records that calls take and return. Their fields are core's; only the spelling is Python's."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

__all__ = [
    "AllocationInfo",
    "Attempt",
    "AttemptLog",
    "CallbackRequest",
    "Diagnosis",
    "DiscoveredPeer",
    "DownloadResult",
    "ErrorRecord",
    "FileInfo",
    "Ipv6State",
    "MappingAnswer",
    "Message",
    "NatProfile",
    "PeerDiagnosis",
    "PeerProgress",
    "PeerStats",
    "PortAllocation",
    "PortMapping",
    "Progress",
    "PublicIps",
    "RegistryEntry",
    "RemoteFile",
    "SocketInfo",
    "Traversal",
]

_T = TypeVar("_T")


@dataclass(frozen=True)
class FileInfo:
    """A file that this node shares."""

    path: Path
    """Where it is."""
    hash: str
    """Its SHA-256 in hex."""
    size: int
    """Its size in bytes."""
    content_id: str | None
    """Its readable id."""


@dataclass(frozen=True)
class RemoteFile:
    """What peers say of a file."""

    hash: str
    """Its SHA-256 in hex."""
    size: int
    """Its size in bytes, as claimed by the first peer that answered."""
    piece_size: int
    """Bytes per piece."""
    pieces: int
    """Number of pieces."""
    name: str | None
    """Suggested name, made safe."""


@dataclass(frozen=True)
class DiscoveredPeer:
    """Somebody who may have a content."""

    id: str
    """Peer id, or ``host:port`` while that is unknown."""
    address: str
    """Host part of the best address."""
    port: int
    """Port of the best address."""
    addresses: tuple[str, ...]
    """All addresses, best first: multiaddrs or ``host:port``."""
    source: str
    """``manual``, ``local``, ..."""
    confidence: float
    """Trust in the record, 0 to 1."""


@dataclass(frozen=True)
class PeerStats:
    """One peer's part in a finished download."""

    bytes: int
    """Payload bytes received from it."""
    rate: float
    """Mean payload bytes per second while it took part."""
    connection_type: str
    """``tcp``, ``udp``, ..."""
    active: bool
    """Whether it took part until the end."""


@dataclass(frozen=True)
class DownloadResult:
    """A finished download."""

    path: Path
    """Where the file is."""
    hash: str
    """Its SHA-256 in hex, proven."""
    size: int
    """Its size in bytes."""
    resumed_bytes: int
    """Bytes that an earlier, interrupted run had already fetched."""
    total_time_ms: int
    """Wall-clock time in milliseconds."""
    average_speed: float
    """Bytes per second, resumed bytes left out; never NaN."""
    peers: Mapping[str, PeerStats]
    """By peer id."""


@dataclass(frozen=True)
class PeerProgress:
    """One peer's part in a download."""

    peer: str
    """Who; the address as given while the id is still unknown."""
    status: Literal["connecting", "choked", "active", "slow", "dropped", "banned"]
    """What it is doing."""
    bytes: int
    """Payload bytes received from it."""
    rate: float
    """Payload bytes per second over the last seconds."""
    connection_type: str
    """``tcp``, ``udp`` (QUIC) or the traversal method that carries the bytes."""


@dataclass(frozen=True)
class Progress:
    """The state of a download."""

    bytes: int
    """Verified bytes, those of an earlier run included. Never falls except when a lie is unmasked."""
    total: int
    """Size of the file, 0 while unknown."""
    fraction: float
    """``bytes / total``; 1.0 for a finished empty file, 0.0 while unknown. Never NaN."""
    rate: float
    """Bytes per second over the last seconds."""
    eta: float | None
    """Seconds left at this rate, ``None`` while unknown."""
    peers: tuple[PeerProgress, ...]
    """Every peer of this download."""


@dataclass(frozen=True)
class CallbackRequest:
    """What a file callback is asked for."""

    content_id: str
    """The content id, or the hash in hex when it was asked for by hash."""
    start_chunk: int
    """Index of the first wanted chunk."""
    chunk_size: int
    """Bytes per chunk; only the last chunk of a file may be shorter."""
    sha256: str | None
    """The hash, when known."""


@dataclass(frozen=True)
class Message:
    """One message of a connection."""

    kind: str
    """Type name, empty for plain data."""
    data: str | bytes
    """The payload, as the other side sent it: text or bytes."""


@dataclass(frozen=True)
class PortAllocation:
    """How a NAT chooses external ports."""

    kind: Literal["preserving", "sequential", "block", "random"]
    """The pattern."""
    step: int | None = None
    """``sequential``: ports from one mapping to the next, may be negative."""
    first: int | None = None
    """``block``: the lowest port seen."""
    size: int | None = None
    """``block``: the size of the smallest aligned power-of-two block that holds all ports seen."""


@dataclass(frozen=True)
class NatProfile:
    """What stands between this machine and the internet. ``None`` is "could not be told"."""

    nat_type: str
    """``public``, ``full-cone``, ``port-restricted``, ``symmetric``, ``udp-blocked``, ..."""
    symmetric: bool
    """Whether new destinations get new ports, so that what one server sees is useless for another."""
    double_nat: bool | None
    """Whether a second NAT follows the nearest router."""
    public_v4: str | None
    """Our IPv4 endpoint (``host:port``) as the internet sees it."""
    public_v6: str | None
    """Our IPv6 endpoint as the internet sees it."""
    translated: bool | None
    """Whether a NAT translates our IPv4 address."""
    mapping: Literal["endpoint-independent", "address-dependent", "address-and-port-dependent"] | None
    """Which destinations share one external endpoint (IPv4, RFC 4787)."""
    filtering: Literal["endpoint-independent", "address-dependent", "address-and-port-dependent"] | None
    """Who may send to an external endpoint (IPv4)."""
    allocation: PortAllocation | None
    """How external ports are chosen (IPv4)."""
    hairpin: bool | None
    """Whether two hosts behind the NAT reach each other by its public address."""
    lifetime_ms: int | None
    """At least so long an idle UDP mapping lives, in milliseconds."""
    udp_blocked: bool
    """Whether UDP does not get out at all while TCP does."""
    filtering_v6: Literal["endpoint-independent", "address-dependent", "address-and-port-dependent"] | None
    """Filtering of a stateful firewall in front of our IPv6 address."""
    router_external: str | None
    """External address that the nearest router reports."""


@dataclass(frozen=True)
class PortMapping:
    """A mapping that a router made."""

    protocol: Literal["TCP", "UDP"]
    """What is forwarded."""
    internal_port: int
    """This machine's port."""
    external_port: int
    """The router's port."""
    external_address: str
    """The router's outside address."""
    lifetime_s: int | None
    """How long the router keeps it, in seconds; ``None`` for ever."""


@dataclass(frozen=True)
class PublicIps:
    """This machine's addresses as the internet sees them."""

    ipv4: str | None
    """IPv4, ``None`` when no server answered."""
    ipv6: str | None
    """IPv6, ``None`` when no server answered or it was not asked for."""


@dataclass(frozen=True)
class SocketInfo:
    """What a way to a peer is and where it leads."""

    connection_type: str
    """``UDP_HOLE_PUNCH``, ``TCP_HOLE_PUNCH``, ``TCP_SIMULTANEOUS_OPEN`` or ``ICE``."""
    protocol: Literal["udp", "tcp"]
    """Datagrams or a stream."""
    local_address: str
    """Our address; that of the relay when one carries it."""
    local_port: int
    """Our port."""
    remote_address: str
    """The peer's address as seen from here."""
    remote_port: int
    """The peer's port as seen from here."""
    local_candidate: Literal["host", "srflx", "prflx", "relay"] | None
    """What our side of an ICE pair is."""
    remote_candidate: Literal["host", "srflx", "prflx", "relay"] | None
    """What the peer's side of an ICE pair is."""


@dataclass(frozen=True)
class AllocationInfo:
    """What a TURN server granted."""

    relayed_address: str
    """The address that peers send to."""
    relayed_port: int
    """Its port."""
    mapped_address: str | None
    """Our address as the server sees it."""
    mapped_port: int | None
    """Its port."""
    server_address: str
    """The server, after redirections."""
    server_port: int
    """Its port."""
    lifetime_s: int
    """How long the server kept it at first, in seconds."""


@dataclass(frozen=True)
class RegistryEntry:
    """A way that led to a peer."""

    peer_id: str
    """The peer's id."""
    connection_type: str
    """The way, e.g. ``UDP_HOLE_PUNCH``."""
    address: str | None
    """The peer's address that worked."""
    port: int | None
    """Its port."""
    last_success_time: int
    """Milliseconds since 1970."""
    success_count: int
    """How often it worked."""
    metadata: Mapping[str, str]
    """Notes of the program."""
@dataclass(frozen=True)
class Attempt:
    """One way to a peer that was tried, or not."""

    method: str
    """The way: ``direct-v4``, ``udp-hole-punch``, ``circuit``, ..."""
    target: str
    """Where to: addresses, a server, or empty."""
    started_ms: int
    """Milliseconds from the first attempt's start."""
    took_ms: int
    """Milliseconds it took."""
    result: Literal["connected", "failed", "skipped", "cancelled"]
    """How it ended."""
    reason: str | None
    """Why it failed (``timeout``, ``refused``, ...) or was not tried (``no-address``, ``symmetric``, ...)."""
    refusal: str | None
    """Why an address is ``forbidden``: ``loopback``, ``private``, ..."""
    detail: str
    """The cause in words, if there is more to say."""


@dataclass(frozen=True)
class AttemptLog:
    """Everything tried to reach one peer."""

    attempts: tuple[Attempt, ...]
    """In order of ending."""
    omitted: int
    """How many did not fit."""


@dataclass(frozen=True)
class Traversal:
    """How a peer was reached."""

    peer: str
    """Who, proven by the handshake."""
    method: str
    """The way: ``direct-v4``, ``udp-hole-punch``, ``circuit``, ..."""
    connection_type: str
    """The same as a ``CONNECTION_TYPE`` of the original package: ``tcp``, ``UDP_HOLE_PUNCH``, ``relay``, ..."""
    transport: Literal["tcp", "udp"]
    """What carries the bytes."""
    address: str
    """Host part of the other end's address."""
    port: int
    """Its port."""
    relayed: bool
    """Whether a third node carries the bytes."""
    took_ms: int
    """Milliseconds from the call to the connection."""
    attempts: AttemptLog
    """Every way that was tried until then, and why others were not."""


@dataclass(frozen=True)
class MappingAnswer:
    """One port mapping protocol of the router."""

    protocol: Literal["PCP", "NAT-PMP", "UPnP"]
    """Which."""
    family: Literal["v4", "v6"]
    """Of which addresses."""
    usable: bool
    """Whether a port can be had by it."""
    external: str | None
    """The router's own outside address, where the protocol tells it."""
    took_ms: int | None
    """How long the answer took, in milliseconds."""
    detail: str
    """Why it cannot be used, or which device answered."""


@dataclass(frozen=True)
class Ipv6State:
    """IPv6 on this machine."""

    address: bool
    """Whether an interface has a global address."""
    route: bool
    """Whether there is a way to the IPv6 internet."""
    works: bool
    """Whether a server answered over IPv6."""
    firewalled: bool | None
    """Whether a firewall keeps strangers out; ``None`` when that could not be told."""


@dataclass(frozen=True)
class PeerDiagnosis:
    """What became of the attempt to reach a peer."""

    reached: Traversal | None
    """How it was reached; ``None`` when it was not."""
    error: str | None
    """Why not."""
    attempts: AttemptLog
    """Every way, with its time and its reason."""


@dataclass(frozen=True)
class Diagnosis(NatProfile):
    """Everything that was found out. What could not be is ``None``."""

    problem: str | None
    """Why the NAT could not be examined."""
    ipv4: str | None
    """This machine's IPv4 address as the internet sees it."""
    ipv6: str | None
    """This machine's IPv6 address as the internet sees it."""
    gateway: str | None
    """The nearest IPv4 router."""
    port_mapping: tuple[MappingAnswer, ...]
    """Each way of asking a router for a port, and its answer. Empty when it may not be asked (``local_only``)."""
    ipv6_state: Ipv6State
    """IPv6 on this machine."""
    inbound_blocked: bool | None
    """Whether strangers do not reach a port of this machine that has sent something."""
    peer: PeerDiagnosis | None
    """What trying to reach a peer gave, if one was named."""
    advice: tuple[str, ...]
    """What would help, most useful first. At least one sentence."""


@dataclass(frozen=True)
class ErrorRecord:
    """An error as it travels in events."""

    code: str
    """Text code, e.g. ``ERR_NO_PEERS``."""
    number: int
    """Number of the kind."""
    message: str
    """What failed, with causes."""
    advice: str
    """What to do."""


def camel(name: str) -> str:
    """The spelling of a field in core's JSON."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def build(cls: type[_T], raw: Mapping[str, Any], **changed: Any) -> _T:
    """An instance of a record class from core's JSON; ``changed`` replaces fields that are records themselves."""
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    values = {field.name: raw.get(camel(field.name)) for field in fields if field.init}
    values.update(changed)
    return cls(**values)


def file_info(raw: Mapping[str, Any]) -> FileInfo:
    return build(FileInfo, raw)


def remote_file(raw: Mapping[str, Any]) -> RemoteFile:
    return build(RemoteFile, raw)


def discovered_peer(raw: Mapping[str, Any]) -> DiscoveredPeer:
    return build(DiscoveredPeer, raw, addresses=tuple(raw["addresses"]))


def download_result(raw: Mapping[str, Any]) -> DownloadResult:
    peers = {peer: build(PeerStats, stats) for peer, stats in raw["peers"].items()}
    return build(DownloadResult, raw, peers=peers)


def progress(raw: Mapping[str, Any]) -> Progress:
    return build(Progress, raw, peers=tuple(build(PeerProgress, peer) for peer in raw["peers"]))


def nat_profile(raw: Mapping[str, Any]) -> NatProfile:
    return build(NatProfile, raw, allocation=_allocation(raw))


def _allocation(raw: Mapping[str, Any]) -> PortAllocation | None:
    allocation = raw["allocation"]
    return None if allocation is None else build(PortAllocation, allocation)


def attempt_log(raw: Mapping[str, Any]) -> AttemptLog:
    return build(AttemptLog, raw, attempts=tuple(_attempt(attempt) for attempt in raw["attempts"]))


def _attempt(raw: Mapping[str, Any]) -> Attempt:
    outcome = raw["outcome"]
    reason = outcome.get("reason")
    because, refusal = (reason["because"], reason.get("detail")) if isinstance(reason, dict) else (reason, None)
    changed = {"result": outcome["result"], "reason": because, "refusal": refusal, "detail": raw.get("detail", "")}
    return build(Attempt, raw, **changed)


def traversal(raw: Mapping[str, Any]) -> Traversal:
    return build(Traversal, raw, attempts=attempt_log(raw["attempts"]))


def diagnosis(raw: Mapping[str, Any]) -> Diagnosis:
    peer = raw["peer"]
    return build(
        Diagnosis,
        raw,
        allocation=_allocation(raw),
        port_mapping=tuple(build(MappingAnswer, answer) for answer in raw["portMapping"]),
        ipv6_state=build(Ipv6State, raw["ipv6State"]),
        peer=None if peer is None else _peer_diagnosis(peer),
        advice=tuple(raw["advice"]),
    )


def _peer_diagnosis(raw: Mapping[str, Any]) -> PeerDiagnosis:
    reached = raw["reached"]
    reached = None if reached is None else traversal(reached)
    return build(PeerDiagnosis, raw, reached=reached, attempts=attempt_log(raw["attempts"]))


def public_ips(raw: Mapping[str, Any]) -> PublicIps:
    return build(PublicIps, raw)


def port_mapping(raw: Mapping[str, Any]) -> PortMapping:
    return build(PortMapping, raw)


def socket_info(raw: Mapping[str, Any]) -> SocketInfo:
    return build(SocketInfo, raw)


def allocation_info(raw: Mapping[str, Any]) -> AllocationInfo:
    return build(AllocationInfo, raw)


def registry_entry(raw: Mapping[str, Any]) -> RegistryEntry:
    return build(RegistryEntry, raw)
