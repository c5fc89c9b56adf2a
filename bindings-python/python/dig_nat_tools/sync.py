"""The names of :mod:`dig_nat_tools.aio` as blocking calls, for programs without an event loop.

Waiting releases the GIL and can be interrupted with Ctrl-C, which cancels the work. Objects may be used from several
threads. ``on_progress`` is called in the thread that waits, ``file_callback`` on threads of its own.
"""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING

from . import _native, records
from ._sync_discovery import PeerDiscoveryManager
from ._sync_node import EventStream, Node
from ._sync_traversal import (
    ConnectionRegistry,
    PunchedSocket,
    Signaling,
    TurnAllocation,
    connect_with_ice,
    create_turn_allocation,
    punch_tcp,
    punch_udp,
    tcp_simultaneous_open,
)
from ._callbacks import FileCallback, OnThreads
from ._encode import encode, milliseconds
from ._running import OnProgress, as_bytes, check_progress, run_blocking
from .options import Path
from .records import (
    Diagnosis,
    DiscoveredPeer,
    DownloadResult,
    FileInfo,
    Message,
    NatProfile,
    PortMapping,
    PublicIps,
    RemoteFile,
    Traversal,
)

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from .options import (
        AddFileKeywords,
        ClientKeywords,
        ConnectKeywords,
        DownloadFileKeywords,
        DownloadKeywords,
        FindKeywords,
        HostKeywords,
        MappingKeywords,
        NatKeywords,
        WatchKeywords,
    )

__all__ = [
    "Connection",
    "ConnectionRegistry",
    "EventStream",
    "FileClient",
    "FileHost",
    "NetworkManager",
    "PeerDiscoveryManager",
    "PunchedSocket",
    "Signaling",
    "TurnAllocation",
    "calculate_sha256",
    "calculate_sha256_file",
    "connect_with_ice",
    "create_file_client",
    "create_file_host",
    "create_network_manager",
    "create_turn_allocation",
    "create_upnp_mapping",
    "delete_upnp_mapping",
    "detect_nat_type",
    "diagnose",
    "discover_public_ips",
    "download_file",
    "external_address_upnp",
    "punch_tcp",
    "punch_udp",
    "tcp_simultaneous_open",
]

class FileHost(Node[_native.FileHost]):
    """Shares files with whoever asks."""

    def __init__(self, *, file_callback: FileCallback | None = None, **options: Unpack[HostKeywords]) -> None:
        super().__init__(_native.FileHost(encode(options)))
        self._file_callback = file_callback
        self._bridge: OnThreads | None = None

    def start(self) -> None:
        """Opens the port, shares ``directory`` and announces everything. A second call does nothing."""
        self._connect(self._file_callback)
        super().start()

    def stop(self) -> None:
        """Withdraws announcements, closes all connections and frees the port. A second call does nothing."""
        super().stop()
        self._connect(None)

    @property
    def host_id(self) -> str:
        """This host's id: a random UUID, kept across restarts with persistence."""
        return self._native.host_id()

    @property
    def addresses(self) -> list[str]:
        """Multiaddrs to reach this host, with its peer id. Empty before the start."""
        return self._native.addresses()

    def add_file(self, path: Path, **options: Unpack[AddFileKeywords]) -> FileInfo:
        """Shares one file: hashes it and announces it. Works before the start too; announcing then waits for it."""
        return records.file_info(run_blocking(self._native.add_file(path, encode(options))))

    def add_directory(self, path: Path) -> list[FileInfo]:
        """Shares every file below a directory. Files that cannot be read are left out with a warning event."""
        return [records.file_info(raw) for raw in run_blocking(self._native.add_directory(path))]

    def watch_directory(self, path: Path, **options: Unpack[WatchKeywords]) -> list[FileInfo]:
        """Shares a directory and follows it from then on: new files are shared when they have come to rest, removed ones
        withdrawn, each with its event. Starts the host if need be and ends with it. Returns the files that were there.
        """
        return [records.file_info(raw) for raw in run_blocking(self._native.watch_directory(path, encode(options)))]

    def unwatch_directory(self, path: Path) -> bool:
        """Follows a directory no more; its files stay shared. ``False`` when it was not watched."""
        return run_blocking(self._native.unwatch_directory(path))

    def remove_file(self, hash: str) -> bool:
        """Stops sharing; ``False`` when the hash was not shared."""
        return run_blocking(self._native.remove_file(hash))

    def has_file(self, hash: str) -> bool:
        """Whether the hash is shared."""
        return self._native.has_file(hash)

    def files(self) -> list[FileInfo]:
        """Everything shared, ordered by path."""
        return [records.file_info(raw) for raw in self._native.files()]

    def content_for_hash(self, hash: str) -> str | None:
        """The readable id of a hash."""
        return self._native.content_for_hash(hash)

    def shard_prefixes(self) -> list[str]:
        """The parts of the hash table that it keeps for others as a shard host; none elsewhere and before the start."""
        return self._native.shard_prefixes()

    def set_file_callback(self, callback: FileCallback | None) -> None:
        """Serves content that is not a file: asked for keys that no shared file answers, on threads of its own."""
        self._file_callback = callback
        self._connect(callback)

    def _connect(self, callback: FileCallback | None) -> None:
        before, self._bridge = self._bridge, None if callback is None else OnThreads(callback)
        self._native.set_file_callback(self._bridge)
        if before is not None:
            before.close()


class FileClient(Node[_native.FileClient]):
    """Finds peers and downloads files."""

    def __init__(self, **options: Unpack[ClientKeywords]) -> None:
        super().__init__(_native.FileClient(encode(options)))

    @property
    def client_id(self) -> str:
        """This client's id: a random UUID."""
        return self._native.client_id()

    def find_peers(self, key: str, **options: Unpack[FindKeywords]) -> list[DiscoveredPeer]:
        """Looks for peers that have a content. Finding nobody is an empty list."""
        found = run_blocking(self._native.find_peers(key, encode(options)))
        return [records.discovered_peer(raw) for raw in found]

    def download(
        self, key: str, *, on_progress: OnProgress | None = None, **options: Unpack[DownloadKeywords]
    ) -> DownloadResult:
        """Downloads a file: finds peers unless some are given, proves every piece, resumes what an earlier run left.

        ``on_progress`` is called in this thread, in order, the last time before the result is returned. An exception
        in it cancels the download and comes out here.
        """
        check_progress(on_progress)
        operation = self._native.download(key, encode(options), on_progress is not None)
        return records.download_result(run_blocking(operation, on_progress))

    def file_info(self, key: str, **options: Unpack[DownloadKeywords]) -> RemoteFile:
        """Asks peers for size and name of a file without downloading it."""
        return records.remote_file(run_blocking(self._native.file_info(key, encode(options))))

    def add_peer(self, peer: str, key: str | None = None) -> None:
        """Remembers a peer (``host:port``, multiaddr or peer id) for all searches, or for those for ``key``."""
        self._native.add_peer(peer, key)

    def set_continuous_discovery(self, enabled: bool) -> None:
        """Switches the search for further peers during downloads, running ones included."""
        self._native.set_continuous_discovery(enabled)


class Connection:
    """A message connection between two network managers: ordered, reliable, both directions.

    ``for message in connection`` reads until the other side closes; ``with connection`` closes at the end.
    """

    def __init__(self, native: _native.Connection, traversal: Traversal | None = None) -> None:
        self._native = native
        self._traversal = traversal
        self._unread: deque[tuple[str, str | bytes] | None] = deque()

    @property
    def peer(self) -> str:
        """The other side's id."""
        return self._native.peer()

    @property
    def address(self) -> str:
        """The other side's address as a multiaddr."""
        return self._native.address()

    @property
    def connection_type(self) -> str:
        """``tcp`` or ``udp``."""
        return self._native.connection_type()

    @property
    def traversal(self) -> Traversal | None:
        """How it came about, when :meth:`NetworkManager.connect_to_peer` made it."""
        return self._traversal

    def send(self, data: str | bytes | bytearray | memoryview, *, kind: str = "") -> None:
        """Sends text or bytes, with an optional type name. Returns when the message is with the transport.

        That takes until the other side has read enough of what was sent before. Interrupting it half-way closes the
        connection: what was sent cannot be taken back.
        """
        text = isinstance(data, str)
        run_blocking(self._native.send(kind, text, data.encode() if isinstance(data, str) else as_bytes(data)))

    def receive(self, timeout: float | None = None) -> Message | None:
        """The next message, ``None`` after the other side has closed.

        ``DigNatTimeoutError`` after ``timeout`` seconds; no message is lost by it.
        """
        if self._unread:
            message = self._unread.popleft()
        else:
            message = run_blocking(self._native.receive(), on_unread=self._unread.append, timeout=timeout)
        return None if message is None else Message(*message)

    def close(self) -> None:
        """Closes both directions after what was sent. A second call does nothing."""
        run_blocking(self._native.close())

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Message:
        message = self.receive()
        if message is None:
            raise StopIteration
        return message

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class NetworkManager(Node[_native.NetworkManager]):
    """Hosting, downloading and message connections in one object."""

    def __init__(self, **options: Unpack[ClientKeywords]) -> None:
        super().__init__(_native.NetworkManager(encode(options)))
        self._unaccepted: deque[_native.Connection | None] = deque()

    @property
    def addresses(self) -> list[str]:
        """Multiaddrs to reach this node, with its peer id. Empty before the start."""
        return self._native.addresses()

    def connect(self, target: str) -> Connection:
        """Connects to ``host:port``, a multiaddr or a peer id and opens a message connection."""
        return Connection(run_blocking(self._native.connect(target)))

    def connect_to_peer(self, peer: str, **options: Unpack[ConnectKeywords]) -> Connection:
        """Connects to a peer by whatever way works; the connection's ``traversal`` says how.

        ``peer`` is a peer id, or a multiaddr that ends in one; a plain ``host:port`` is only dialled. The message of
        :class:`~dig_nat_tools.DigNatPeerUnreachableError` has every way tried with its time and reason.
        """
        native, raw = run_blocking(self._native.connect_to_peer(peer, encode(options)))
        return Connection(native, records.traversal(raw))

    def diagnose(self, peer: str | None = None, **options: Unpack[ConnectKeywords]) -> Diagnosis:
        """Examines the network as :func:`diagnose` does, with this node's servers, and tries to reach ``peer`` if given.

        That the peer is not reached is a result, not an error.
        """
        return records.diagnosis(run_blocking(self._native.diagnose(peer, encode(options))))

    def accept(self, timeout: float | None = None) -> Connection | None:
        """The next message connection opened by another node, ``None`` after :meth:`stop`.

        ``DigNatTimeoutError`` after ``timeout`` seconds; no connection is lost by it.
        """
        if self._unaccepted:
            connection = self._unaccepted.popleft()
        else:
            connection = run_blocking(self._native.accept(), on_unread=self._unaccepted.append, timeout=timeout)
        return None if connection is None else Connection(connection)

    def find_peers(self, key: str, **options: Unpack[FindKeywords]) -> list[DiscoveredPeer]:
        """See :meth:`FileClient.find_peers`."""
        found = run_blocking(self._native.find_peers(key, encode(options)))
        return [records.discovered_peer(raw) for raw in found]

    def download(
        self, key: str, *, on_progress: OnProgress | None = None, **options: Unpack[DownloadKeywords]
    ) -> DownloadResult:
        """See :meth:`FileClient.download`."""
        check_progress(on_progress)
        operation = self._native.download(key, encode(options), on_progress is not None)
        return records.download_result(run_blocking(operation, on_progress))

    def share_file(self, path: Path, **options: Unpack[AddFileKeywords]) -> FileInfo:
        """See :meth:`FileHost.add_file`."""
        return records.file_info(run_blocking(self._native.share_file(path, encode(options))))

    def add_peer(self, peer: str, key: str | None = None) -> None:
        """See :meth:`FileClient.add_peer`."""
        self._native.add_peer(peer, key)

    def set_continuous_discovery(self, enabled: bool) -> None:
        """Switches the search for further peers during downloads, running ones included."""
        self._native.set_continuous_discovery(enabled)

    def connection_type(self, peer: str) -> str | None:
        """How a connected peer is reached (``tcp``, ``udp``), ``None`` without a connection."""
        return self._native.connection_type(peer)

    def content_for_hash(self, hash: str) -> str | None:
        """The readable id of a hash."""
        return self._native.content_for_hash(hash)


def create_file_host(*, file_callback: FileCallback | None = None, **options: Unpack[HostKeywords]) -> FileHost:
    """A started host."""
    host = FileHost(file_callback=file_callback, **options)
    host.start()
    return host


def create_file_client(**options: Unpack[ClientKeywords]) -> FileClient:
    """A started client."""
    client = FileClient(**options)
    client.start()
    return client


def create_network_manager(**options: Unpack[ClientKeywords]) -> NetworkManager:
    """A started network manager."""
    manager = NetworkManager(**options)
    manager.start()
    return manager


def download_file(
    key: str, *, on_progress: OnProgress | None = None, **options: Unpack[DownloadFileKeywords]
) -> DownloadResult:
    """Downloads one file with a client made for this call and stopped after it.

    ``save_path``, ``output_dir`` and ``peers`` are the options most used; see :mod:`dig_nat_tools.options`.
    """
    check_progress(on_progress)
    operation = _native.download_file(key, encode(options), on_progress is not None)
    return records.download_result(run_blocking(operation, on_progress))


def create_upnp_mapping(**options: Unpack[MappingKeywords]) -> PortMapping:
    """Asks the router by UPnP to forward ``internal_port``, once: nobody renews it. A started node does so by itself.

    Raises :class:`~dig_nat_tools.DigNatPeerUnreachableError` when there is no router that does it.
    """
    return records.port_mapping(run_blocking(_native.create_upnp_mapping(encode(options))))


def delete_upnp_mapping(**options: Unpack[MappingKeywords]) -> bool:
    """Asks the router by UPnP to forget the mapping of ``external_port``; ``False`` when it knows none."""
    return run_blocking(_native.delete_upnp_mapping(encode(options)))


def external_address_upnp(timeout: float = 5.0) -> str | None:
    """The router's outside IPv4 address as UPnP tells it, ``None`` when nobody answers in time."""
    return run_blocking(_native.external_address_upnp(milliseconds("timeout", timeout)))


def detect_nat_type(**options: Unpack[NatKeywords]) -> NatProfile:
    """Finds out what kind of NAT or firewall stands between this machine and the internet.

    A network that blocks UDP is a result, not an error.
    """
    return records.nat_profile(run_blocking(_native.detect_nat_type(encode(options))))


def diagnose(**options: Unpack[NatKeywords]) -> Diagnosis:
    """Examines the NAT, the router's port mapping protocols and IPv6, and says what would help; maps nothing."""
    return records.diagnosis(run_blocking(_native.diagnose(encode(options))))


def discover_public_ips(**options: Unpack[NatKeywords]) -> PublicIps:
    """Asks STUN servers for this machine's public addresses. What cannot be found out is ``None``, not an error."""
    return records.public_ips(run_blocking(_native.discover_public_ips(encode(options))))


def calculate_sha256(data: bytes | bytearray | memoryview) -> str:
    """SHA-256 of bytes in memory, in hex."""
    return _native.calculate_sha256(as_bytes(data))


def calculate_sha256_file(path: Path) -> str:
    """SHA-256 of a file, in hex, computed on a worker thread."""
    return run_blocking(_native.calculate_sha256_file(path))
