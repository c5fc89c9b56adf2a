"""Keyword arguments of hosts, clients, managers, downloads and searches, for type checkers and readers.

Made by scripts/generate_options.py from the tables of core, where names, types and ranges are checked at run time.
Durations are in seconds (``float``); the names that end in ``_ms`` take milliseconds instead.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TypedDict, Union

Path = Union[str, "os.PathLike[str]"]
TurnServer = Union[str, Sequence[str], Mapping[str, object]]


class HostKeywords(TypedDict, total=False):
    """Keyword arguments of FileHost."""

    port: int
    """TCP and UDP port to listen on. Default 0: a free port chosen by the system, the same for both."""
    enable_ipv6: bool
    """Listen on IPv6 as well as IPv4 and dial both. Default false."""
    enable_tcp: bool
    """Accept and dial TCP connections. Default true."""
    enable_udp: bool
    """Accept and dial QUIC (UDP) connections. Default true."""
    local_enabled: bool
    """Find peers and be found on the local network by multicast DNS. Default true."""
    local_only: bool
    """Contact nothing but the local network and addresses given by the user. Default false, or true when the
    environment variable ``DIG_NAT_LOCAL_ONLY`` is ``1``."""
    interfaces: Sequence[str]
    """Interfaces (names or addresses) used for listening addresses and local discovery. Default empty: all, or the
    comma-separated list in the environment variable ``DIG_NAT_INTERFACES``."""
    persistence_dir: Path | None
    """Directory for state that outlives the process (identity, hash cache). Default none: nothing is kept."""
    enable_persistence: bool
    """Keep state in ``persistence_dir`` (``./.dig-nat-tools`` when unset). Default false."""
    max_connections: int
    """Connections held at once. Default 1000, range 1 to 100000."""
    upload_limit: int
    """Upload limit of the whole node in bytes per second. Default 0: none."""
    download_limit: int
    """Download limit of the whole node in bytes per second. Default 0: none."""
    peer_upload_limit: int
    """Upload limit per peer in bytes per second. Default 0: none."""
    peer_download_limit: int
    """Download limit per peer in bytes per second. Default 0: none."""
    stun_servers: Sequence[str]
    """STUN servers (``host:port`` or ``stun:host:port``) that tell this node its public address and the kind of NAT in
    front of it. Default empty: three public ones, or none when ``local_only`` is set."""
    turn_servers: Sequence[TurnServer]
    """TURN servers, ``{urls, username, credential}`` each, over which peers are reached when nothing else works; the
    first one is used. Default none."""
    enable_upnp: bool
    """Ask the router by UPnP to forward the port. Default true; never done when ``local_only`` is set."""
    enable_natpmp: bool
    """Ask the router by PCP and NAT-PMP to forward the port. Default true; never done when ``local_only`` is set."""
    port_mapping_lifetime_s: int
    """Lifetime asked for port mappings, which are renewed at half of it, in seconds. Default 3600, range 120 to
    86400."""
    relays: Sequence[str]
    """Relays (multiaddrs with their peer id) through which this node can be reached while it cannot directly. Default
    none."""
    relay_server: bool
    """Forward bytes between peers that cannot reach each other. Default false."""
    light_node: bool
    """Never upload, not even pieces of running downloads. Default false."""
    directory: Path | None
    """Directory whose files are shared at start, recursively. Default none."""
    upload_slots: int
    """Peers served at once (one of them the optimistic choice) while more want data. Default 4, range 1 to 1000."""
    chunk_size: int
    """Unit of the ``hostFileCallback`` contract in bytes. Default 65536, range 1024 to 16777216."""
    enable_watcher: bool
    """Follow what changes in ``directory``: new files are shared, removed ones withdrawn. Default false."""
    watch_dir: Path | None
    """Directory whose files are shared at start and followed from then on. Default none: ``directory``, with
    ``enable_watcher``."""
    watch_recursive: bool
    """Follow subdirectories too. Default true."""
    watch_include_extensions: Sequence[str]
    """Of the followed directory share only files with one of these extensions. Default empty: all."""
    watch_exclude_extensions: Sequence[str]
    """Of the followed directory share no file with one of these extensions. Default none."""
    watch_max_file_size: int
    """Of the followed directory share no larger file, in bytes. Default 0: no limit."""


class ClientKeywords(TypedDict, total=False):
    """Keyword arguments of FileClient and NetworkManager."""

    port: int
    """TCP and UDP port to listen on. Default 0: a free port chosen by the system, the same for both."""
    enable_ipv6: bool
    """Listen on IPv6 as well as IPv4 and dial both. Default false."""
    enable_tcp: bool
    """Accept and dial TCP connections. Default true."""
    enable_udp: bool
    """Accept and dial QUIC (UDP) connections. Default true."""
    local_enabled: bool
    """Find peers and be found on the local network by multicast DNS. Default true."""
    local_only: bool
    """Contact nothing but the local network and addresses given by the user. Default false, or true when the
    environment variable ``DIG_NAT_LOCAL_ONLY`` is ``1``."""
    interfaces: Sequence[str]
    """Interfaces (names or addresses) used for listening addresses and local discovery. Default empty: all, or the
    comma-separated list in the environment variable ``DIG_NAT_INTERFACES``."""
    persistence_dir: Path | None
    """Directory for state that outlives the process (identity, hash cache). Default none: nothing is kept."""
    enable_persistence: bool
    """Keep state in ``persistence_dir`` (``./.dig-nat-tools`` when unset). Default false."""
    max_connections: int
    """Connections held at once. Default 1000, range 1 to 100000."""
    upload_limit: int
    """Upload limit of the whole node in bytes per second. Default 0: none."""
    download_limit: int
    """Download limit of the whole node in bytes per second. Default 0: none."""
    peer_upload_limit: int
    """Upload limit per peer in bytes per second. Default 0: none."""
    peer_download_limit: int
    """Download limit per peer in bytes per second. Default 0: none."""
    stun_servers: Sequence[str]
    """STUN servers (``host:port`` or ``stun:host:port``) that tell this node its public address and the kind of NAT in
    front of it. Default empty: three public ones, or none when ``local_only`` is set."""
    turn_servers: Sequence[TurnServer]
    """TURN servers, ``{urls, username, credential}`` each, over which peers are reached when nothing else works; the
    first one is used. Default none."""
    enable_upnp: bool
    """Ask the router by UPnP to forward the port. Default true; never done when ``local_only`` is set."""
    enable_natpmp: bool
    """Ask the router by PCP and NAT-PMP to forward the port. Default true; never done when ``local_only`` is set."""
    port_mapping_lifetime_s: int
    """Lifetime asked for port mappings, which are renewed at half of it, in seconds. Default 3600, range 120 to
    86400."""
    relays: Sequence[str]
    """Relays (multiaddrs with their peer id) through which this node can be reached while it cannot directly. Default
    none."""
    relay_server: bool
    """Forward bytes between peers that cannot reach each other. Default false."""
    light_node: bool
    """Never upload, not even pieces of running downloads. Default false."""
    download_dir: Path
    """Directory for downloads that are given no path. Default the current directory."""
    request_timeout_ms: int
    """Time for the first answer of a peer, in ms. Default 30000, range 100 to 3600000."""
    request_timeout: float
    """The same in seconds."""
    enable_continuous_discovery: bool
    """Keep looking for further peers while a download runs. Default true."""
    max_peers: int
    """Peers one download uses at once. Default 10, range 1 to 500."""


class DownloadKeywords(TypedDict, total=False):
    """Keyword arguments of download."""

    save_path: Path | None
    """Target file. Default: ``output_dir`` and the name the peers offer, made safe, else the hash."""
    output_dir: Path | None
    """Target directory when ``save_path`` is not given. Default: the client's ``download_dir``."""
    peers: Sequence[str]
    """Peers to ask: ``host:port``, multiaddr, or peer id. Default none: discovery finds them."""
    max_peers: int | None
    """Peers used at once. Default: the client's ``max_peers``. Range 1 to 500."""
    timeout_ms: int
    """Give up when no peer that has the content was found for so long, in ms. Default 30000, range 1 to 86400000."""
    timeout: float
    """The same in seconds."""
    discover: bool | None
    """Search for peers besides those given. Default: the client's ``enable_continuous_discovery``."""
    download_limit: int
    """Download limit in bytes per second. Default 0: none."""
    share_while_downloading: bool
    """Serve pieces to others while downloading. Default true; a light node never does."""
    overwrite: bool
    """Replace an existing target file whose content differs. Default true."""


class DownloadFileKeywords(TypedDict, total=False):
    """Keyword arguments of download_file."""

    port: int
    """TCP and UDP port to listen on. Default 0: a free port chosen by the system, the same for both."""
    enable_ipv6: bool
    """Listen on IPv6 as well as IPv4 and dial both. Default false."""
    enable_tcp: bool
    """Accept and dial TCP connections. Default true."""
    enable_udp: bool
    """Accept and dial QUIC (UDP) connections. Default true."""
    local_enabled: bool
    """Find peers and be found on the local network by multicast DNS. Default true."""
    local_only: bool
    """Contact nothing but the local network and addresses given by the user. Default false, or true when the
    environment variable ``DIG_NAT_LOCAL_ONLY`` is ``1``."""
    interfaces: Sequence[str]
    """Interfaces (names or addresses) used for listening addresses and local discovery. Default empty: all, or the
    comma-separated list in the environment variable ``DIG_NAT_INTERFACES``."""
    persistence_dir: Path | None
    """Directory for state that outlives the process (identity, hash cache). Default none: nothing is kept."""
    enable_persistence: bool
    """Keep state in ``persistence_dir`` (``./.dig-nat-tools`` when unset). Default false."""
    max_connections: int
    """Connections held at once. Default 1000, range 1 to 100000."""
    upload_limit: int
    """Upload limit of the whole node in bytes per second. Default 0: none."""
    download_limit: int
    """Download limit in bytes per second. Default 0: none."""
    peer_upload_limit: int
    """Upload limit per peer in bytes per second. Default 0: none."""
    peer_download_limit: int
    """Download limit per peer in bytes per second. Default 0: none."""
    stun_servers: Sequence[str]
    """STUN servers (``host:port`` or ``stun:host:port``) that tell this node its public address and the kind of NAT in
    front of it. Default empty: three public ones, or none when ``local_only`` is set."""
    turn_servers: Sequence[TurnServer]
    """TURN servers, ``{urls, username, credential}`` each, over which peers are reached when nothing else works; the
    first one is used. Default none."""
    enable_upnp: bool
    """Ask the router by UPnP to forward the port. Default true; never done when ``local_only`` is set."""
    enable_natpmp: bool
    """Ask the router by PCP and NAT-PMP to forward the port. Default true; never done when ``local_only`` is set."""
    port_mapping_lifetime_s: int
    """Lifetime asked for port mappings, which are renewed at half of it, in seconds. Default 3600, range 120 to
    86400."""
    relays: Sequence[str]
    """Relays (multiaddrs with their peer id) through which this node can be reached while it cannot directly. Default
    none."""
    relay_server: bool
    """Forward bytes between peers that cannot reach each other. Default false."""
    light_node: bool
    """Never upload, not even pieces of running downloads. Default false."""
    download_dir: Path
    """Directory for downloads that are given no path. Default the current directory."""
    request_timeout_ms: int
    """Time for the first answer of a peer, in ms. Default 30000, range 100 to 3600000."""
    request_timeout: float
    """The same in seconds."""
    enable_continuous_discovery: bool
    """Keep looking for further peers while a download runs. Default true."""
    max_peers: int | None
    """Peers used at once. Default: the client's ``max_peers``. Range 1 to 500."""
    save_path: Path | None
    """Target file. Default: ``output_dir`` and the name the peers offer, made safe, else the hash."""
    output_dir: Path | None
    """Target directory when ``save_path`` is not given. Default: the client's ``download_dir``."""
    peers: Sequence[str]
    """Peers to ask: ``host:port``, multiaddr, or peer id. Default none: discovery finds them."""
    timeout_ms: int
    """Give up when no peer that has the content was found for so long, in ms. Default 30000, range 1 to 86400000."""
    timeout: float
    """The same in seconds."""
    discover: bool | None
    """Search for peers besides those given. Default: the client's ``enable_continuous_discovery``."""
    share_while_downloading: bool
    """Serve pieces to others while downloading. Default true; a light node never does."""
    overwrite: bool
    """Replace an existing target file whose content differs. Default true."""


class AddFileKeywords(TypedDict, total=False):
    """Keyword arguments of add_file and share_file."""

    content_id: str | None
    """Readable id under which the file can also be found. Default none."""


class FindKeywords(TypedDict, total=False):
    """Keyword arguments of find_peers."""

    max_peers: int
    """Stop after so many peers. Default 50, range 1 to 1000."""
    timeout_ms: int
    """Time of the search in ms. Default 5000, range 1 to 3600000."""
    timeout: float
    """The same in seconds."""


class ConnectKeywords(TypedDict, total=False):
    """Keyword arguments of connect_to_peer and NetworkManager.diagnose."""

    addresses: Sequence[str]
    """Where the peer may be, besides what is known of it: multiaddrs or ``host:port``. Default none."""
    preferred_methods: Sequence[str]
    """Only these ways, in this order, e.g. ``direct``, ``upnp``, ``udp-hole-punch``, ``tcp-hole-punch``, ``ice``,
    ``turn``, ``relay``. Default empty: all ways, in the order that is usually fastest."""
    timeout_ms: int
    """Time until a first connection stands, in ms. Default 30000, range 100 to 600000."""
    timeout: float
    """The same in seconds."""
    save_to_registry: bool
    """Remember what worked and try it first the next time. Default true."""


class WatchKeywords(TypedDict, total=False):
    """Keyword arguments of watch_directory."""

    recursive: bool
    """Subdirectories too. Default true."""
    include_extensions: Sequence[str]
    """Share only files with one of these extensions, in upper or lower case. Default empty: all."""
    exclude_extensions: Sequence[str]
    """Share no file with one of these extensions. Default none."""
    max_file_size: int
    """Share no larger file, in bytes. Default 0: no limit."""
    stability_ms: int
    """Share a file when nothing was written to it for so long, in ms. Default 2000, range 10 to 3600000."""
    stability: float
    """The same in seconds."""
    poll_interval_ms: int
    """Look through the directory at this interval, in ms, instead of asking the operating system what changes: for
    network file systems. Default 0: ask the operating system. Range 100 to 86400000."""
    poll_interval: float
    """The same in seconds."""


class MappingKeywords(TypedDict, total=False):
    """Keyword arguments of create_upnp_mapping and delete_upnp_mapping."""

    internal_port: int
    """This machine's port, range 1 to 65535. Default 0: none, it has to be given to make a mapping."""
    external_port: int
    """The router's port. Default 0: the same as this machine's."""
    protocol: str
    """``TCP`` or ``UDP``. Default ``TCP``."""
    description: str
    """What the router shows beside the mapping. Default ``dig-nat-tools``."""
    ttl_s: int
    """How long the router keeps it, in seconds. Default 7200, range 1 to 604800."""
    timeout_ms: int
    """Time for the router's answers in ms. Default 5000, range 100 to 60000."""
    timeout: float
    """The same in seconds."""


class PunchKeywords(TypedDict, total=False):
    """Keyword arguments of punch_udp, punch_tcp and tcp_simultaneous_open."""

    remote_endpoint: str
    """The peer's endpoint, ``host:port``, as the internet sees it. Default none: it has to be given."""
    local_endpoint: str
    """Our address and port, ``host:port``, to punch from. Default any address and ``local_port``."""
    local_port: int
    """Our port when ``local_endpoint`` is not given. Default 0: a free one."""
    local_ports: Sequence[int]
    """Our possible ports: the first free one is used. Default none: ``local_port``."""
    key: str | None
    """Secret text that both sides know. Without one, anybody at the peer's address can pretend to be the peer. Default
    none."""
    timeout_ms: int
    """Time for the attempt in ms; the peer has to try within it. Default 10000, range 100 to 120000."""
    timeout: float
    """The same in seconds."""


class TurnKeywords(TypedDict, total=False):
    """Keyword arguments of create_turn_allocation."""

    turn_server: str | None
    """The server: ``turn:host[:port][?transport=tcp]``, ``turns:host[:port]`` or ``host[:port]``. Default none: this or
    ``turn_servers`` has to be given."""
    turn_username: str | None
    """User name at ``turn_server``. Default none."""
    turn_password: str | None
    """Password at ``turn_server``. Default none."""
    turn_servers: Sequence[TurnServer]
    """Further servers, ``{urls, username, credential}`` each, asked one after the other. Default none."""
    protocol: str | None
    """How servers are reached: ``UDP``, ``TCP`` or ``TLS``. Default: what their URLs say, else UDP."""
    turn_port: int | None
    """Port of servers that are named without one. Default 3478, or 5349 for TLS."""
    root_certificates: str | None
    """Certificates (PEM) trusted for TLS instead of the system's. Default none."""
    lifetime_s: int
    """Lifetime asked for, in seconds; prolonged as long as the allocation is held. Default 600, range 1 to 3600."""
    timeout_ms: int
    """Time to allocate in ms. Default 10000, range 100 to 120000."""
    timeout: float
    """The same in seconds."""


class IceKeywords(TypedDict, total=False):
    """Keyword arguments of connect_with_ice."""

    local_id: str | None
    """Our name; of two sides that give both names the one with the greater name controls. Default none."""
    remote_id: str | None
    """The peer's name. Default none."""
    stun_servers: Sequence[str]
    """STUN servers (``host:port`` or ``stun:host:port``). Default empty: three public ones, or none when ``local_only``
    is set."""
    turn_server: str | None
    """A TURN server whose relayed address is a candidate. Default none."""
    turn_username: str | None
    """User name at ``turn_server``. Default none."""
    turn_password: str | None
    """Password at ``turn_server``. Default none."""
    turn_servers: Sequence[TurnServer]
    """TURN servers, ``{urls, username, credential}`` each; the first one of all is used. Default none."""
    local_port: int
    """Our UDP port. Default 0: a free one."""
    enable_ipv6: bool
    """Gather IPv6 candidates as well. Default false."""
    allow_private: bool
    """Check private and loopback addresses that the peer names: for peers in one network or on one machine. Default
    false."""
    local_only: bool
    """Ask no STUN server that was not named. Default false, or true when the environment variable
    ``DIG_NAT_LOCAL_ONLY`` is ``1``."""
    timeout_ms: int
    """Time until a pair works in ms. Default 15000, range 100 to 120000."""
    timeout: float
    """The same in seconds."""


class RegistryKeywords(TypedDict, total=False):
    """Keyword arguments of ConnectionRegistry.open."""

    registry_dir: Path | None
    """Its directory, made when it is missing. Default ``.dig-nat-tools/registry`` in the home directory."""


class SaveConnectionKeywords(TypedDict, total=False):
    """Keyword arguments of ConnectionRegistry.save."""

    address: str | None
    """The peer's address that worked. Default none."""
    port: int | None
    """Its port. Default none."""
    metadata: Mapping[str, object]
    """Up to 8 notes of at most 256 bytes; what is not text is kept as its JSON. Default none."""


class NatKeywords(TypedDict, total=False):
    """Keyword arguments of detect_nat_type, diagnose and discover_public_ips."""

    stun_servers: Sequence[str]
    """STUN servers (``host:port`` or ``stun:host:port``) to ask. Default empty: three public ones, or none when
    ``local_only`` is set."""
    timeout_ms: int
    """Time for everything in ms. Default 5000, range 100 to 60000."""
    timeout: float
    """The same in seconds."""
    enable_ipv6: bool
    """Look at IPv6 as well as IPv4. Default false."""
    use_natpmp: bool
    """Ask the router for its external address too, by PCP and NAT-PMP. Default true; never done when ``local_only`` is
    set."""
    local_only: bool
    """Contact nothing but the local network and addresses given by the user. Default false, or true when the
    environment variable ``DIG_NAT_LOCAL_ONLY`` is ``1``."""


SECONDS = {
    "poll_interval": "poll_interval_ms",
    "request_timeout": "request_timeout_ms",
    "stability": "stability_ms",
    "timeout": "timeout_ms",
}
"""Names that take seconds, and the option in milliseconds that each one sets."""
