"""Keyword arguments as the JSON that core reads. Names, types and ranges are checked by core, not here."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any

from .errors import DigNatInvalidArgumentError
from .options import SECONDS


def encode(options: Mapping[str, Any]) -> str:
    """The JSON object for keyword arguments; durations in seconds become core's milliseconds."""
    members = []
    for name, value in options.items():
        if name in SECONDS and value is not None:
            name, value = SECONDS[name], milliseconds(name, value)
        try:
            text = json.dumps(value, default=_plain, allow_nan=False, ensure_ascii=False)
            text.encode()
        except (TypeError, ValueError) as error:
            raise DigNatInvalidArgumentError(f"{name}: {error}") from error
        members.append(f"{json.dumps(name)}:{text}")
    return "{" + ",".join(members) + "}"


def milliseconds(name: str, value: Any) -> int:
    """Seconds as core's milliseconds."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise DigNatInvalidArgumentError(f"{name}: expected seconds, got {value!r}")
    return math.ceil(value * 1000)


def _plain(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    raise TypeError(f"an option cannot be of type {type(value).__name__}")
