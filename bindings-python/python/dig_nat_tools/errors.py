"""Exceptions: one class per error kind of core, all derived from :class:`DigNatError`.

Each class has ``code`` (the text code all languages share), ``number`` and ``advice``, and derives from the built-in
exception that fits, if any: ``except TimeoutError`` catches :class:`DigNatTimeoutError`.

A cancelled ``asyncio`` task gets :class:`asyncio.CancelledError` as usual. :class:`DigNatCancelledError` means that
something else ended the call, for example the ``stop()`` of its node.
"""

from __future__ import annotations

from ._native import (
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

__all__ = [
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
]
