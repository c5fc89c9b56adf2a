"""Peer-to-peer files: share them, find who has them by SHA-256, download from all of them at once, proven.

Everything here is for ``asyncio``; :mod:`dig_nat_tools.sync` has the same names as blocking calls. Events are in
:mod:`dig_nat_tools.events`, exceptions in :mod:`dig_nat_tools.errors`, keyword arguments in
:mod:`dig_nat_tools.options`.
"""

from __future__ import annotations

from . import errors, events, options, records, sync
from ._running import version as _version
from .aio import (
    Connection,
    EventStream,
    FileClient,
    FileHost,
    NetworkManager,
    calculate_sha256,
    calculate_sha256_file,
    create_file_client,
    create_file_host,
    create_network_manager,
    download_file,
)
from .errors import (
    DigNatAddressInUseError,
    DigNatCancelledError,
    DigNatConnectionClosedError,
    DigNatContentNotFoundError,
    DigNatDiskFullError,
    DigNatError,
    DigNatFileBusyError,
    DigNatFileChangedError,
    DigNatFileNotFoundError,
    DigNatInternalError,
    DigNatInvalidArgumentError,
    DigNatInvalidStateError,
    DigNatIoError,
    DigNatLimitReachedError,
    DigNatNoPeersError,
    DigNatPeerUnreachableError,
    DigNatPermissionDeniedError,
    DigNatProtocolError,
    DigNatTimeoutError,
    DigNatVerificationFailedError,
)
from .records import (
    CallbackRequest,
    DiscoveredPeer,
    DownloadResult,
    ErrorRecord,
    FileInfo,
    Message,
    PeerProgress,
    PeerStats,
    Progress,
    RemoteFile,
)

__version__ = _version()

__all__ = [
    "CallbackRequest",
    "Connection",
    "DigNatAddressInUseError",
    "DigNatCancelledError",
    "DigNatConnectionClosedError",
    "DigNatContentNotFoundError",
    "DigNatDiskFullError",
    "DigNatError",
    "DigNatFileBusyError",
    "DigNatFileChangedError",
    "DigNatFileNotFoundError",
    "DigNatInternalError",
    "DigNatInvalidArgumentError",
    "DigNatInvalidStateError",
    "DigNatIoError",
    "DigNatLimitReachedError",
    "DigNatNoPeersError",
    "DigNatPeerUnreachableError",
    "DigNatPermissionDeniedError",
    "DigNatProtocolError",
    "DigNatTimeoutError",
    "DigNatVerificationFailedError",
    "DiscoveredPeer",
    "DownloadResult",
    "ErrorRecord",
    "EventStream",
    "FileClient",
    "FileHost",
    "FileInfo",
    "Message",
    "NetworkManager",
    "PeerProgress",
    "PeerStats",
    "Progress",
    "RemoteFile",
    "calculate_sha256",
    "calculate_sha256_file",
    "create_file_client",
    "create_file_host",
    "create_network_manager",
    "download_file",
    "errors",
    "events",
    "options",
    "records",
    "sync",
]
