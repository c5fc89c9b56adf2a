"""Writes python/dig_nat_tools/options.py from the option tables of core. Run after scripts/develop.py.

A test compares the committed file with what this prints.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import Any

from dig_nat_tools import _native

TARGET = Path(__file__).resolve().parent.parent / "python" / "dig_nat_tools" / "options.py"

HEADER = '''"""Keyword arguments of hosts, clients, managers, downloads and searches, for type checkers and readers.

Made by scripts/generate_options.py from the tables of core, where names, types and ranges are checked at run time.
Durations are in seconds (``float``); the names that end in ``_ms`` take milliseconds instead.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TypedDict, Union

Path = Union[str, "os.PathLike[str]"]
TurnServer = Union[str, Sequence[str], Mapping[str, object]]
'''

TYPES = {"bool": "bool", "String": "str", "PathBuf": "Path", "Vec<String>": "Sequence[str]"}
TYPES |= {"Vec<u16>": "Sequence[int]", "Vec<TurnServerOption>": "Sequence[TurnServer]"}
TYPES |= {"BTreeMap<String,Value>": "Mapping[str, object]"}
TYPES |= dict.fromkeys(["u16", "u32", "u64", "usize"], "int")

SETS = {
    "HostKeywords": ("FileHost", ["NodeOptions", "HostOptions"]),
    "ClientKeywords": ("FileClient and NetworkManager", ["NodeOptions", "ClientOptions"]),
    "DownloadKeywords": ("download", ["DownloadOptions"]),
    "DownloadFileKeywords": ("download_file", ["NodeOptions", "ClientOptions", "DownloadOptions"]),
    "AddFileKeywords": ("add_file and share_file", ["AddFileOptions"]),
    "FindKeywords": ("find_peers", ["FindOptions"]),
    "ConnectKeywords": ("connect_to_peer and NetworkManager.diagnose", ["ConnectOptions"]),
    "WatchKeywords": ("watch_directory", ["WatchOptions"]),
    "MappingKeywords": ("create_upnp_mapping and delete_upnp_mapping", ["MappingOptions"]),
    "PunchKeywords": ("punch_udp, punch_tcp and tcp_simultaneous_open", ["PunchOptions"]),
    "TurnKeywords": ("create_turn_allocation", ["TurnOptions"]),
    "IceKeywords": ("connect_with_ice", ["IceOptions"]),
    "RegistryKeywords": ("ConnectionRegistry.open", ["RegistryOptions"]),
    "SaveConnectionKeywords": ("ConnectionRegistry.save", ["SaveConnectionOptions"]),
    "NatKeywords": ("detect_nat_type, diagnose and discover_public_ips", ["NatOptions"]),
}


def python_type(rust: str) -> str:
    if rust.startswith("Option<"):
        return f"{python_type(rust[7:-1])} | None"
    return TYPES[rust]


def doc_of(option: dict[str, Any], spellings: dict[str, str]) -> list[str]:
    text = " ".join(option["doc"].split()).replace("`", "``")
    for json, name in spellings.items():
        text = text.replace(f"``{json}``", f"``{name}``")
    indent = "    "
    return textwrap.wrap(f'"""{text}"""', 120, initial_indent=indent, subsequent_indent=indent)


def lines_of(option: dict[str, Any], spellings: dict[str, str]) -> list[str]:
    name = option["name"]
    lines = [f"    {name}: {python_type(option['type'])}", *doc_of(option, spellings)]
    if name.endswith("_ms"):
        seconds = name.removesuffix("_ms")
        lines += [f"    {seconds}: float", '    """The same in seconds."""']
    return lines


def generate() -> str:
    tables = _native.manifest()["options"]
    spellings = {option["json"]: option["name"] for table in tables.values() for option in table}
    text = [HEADER]
    seconds: dict[str, str] = {}
    for name, (users, sets) in SETS.items():
        # A name in several sets means the same in each; the most special documentation is the best.
        options = {option["name"]: option for table in sets for option in tables[table]}
        text += ["", f"class {name}(TypedDict, total=False):", f'    """Keyword arguments of {users}."""', ""]
        for option in options.values():
            text += lines_of(option, spellings)
            if option["name"].endswith("_ms"):
                seconds[option["name"].removesuffix("_ms")] = option["name"]
        text.append("")
    text += ["", "SECONDS = {"]
    text += [f'    "{name}": "{milliseconds}",' for name, milliseconds in sorted(seconds.items())]
    text += ["}", '"""Names that take seconds, and the option in milliseconds that each one sets."""', ""]
    return "\n".join(text)


if __name__ == "__main__":
    if sys.argv[1:] == ["--print"]:
        sys.stdout.write(generate())
    else:
        TARGET.write_text(generate(), encoding="utf-8")
