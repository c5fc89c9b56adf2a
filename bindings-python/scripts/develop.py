"""Builds the native module with cargo (development profile) and puts it into the package folder, for tests.

Honours CARGO_TARGET_DIR. Installing for use is `pip install ./bindings-python`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent
PACKAGE = FOLDER / "python" / "dig_nat_tools"


def build(arguments: list[str]) -> Path:
    """Runs cargo and returns the library it names in its messages."""
    command = ["cargo", "build", "-p", "dig-nat-python", "--message-format", "json-render-diagnostics", *arguments]
    output = subprocess.run(command, cwd=FOLDER, check=True, stdout=subprocess.PIPE, text=True).stdout
    for line in output.splitlines():
        message = json.loads(line)
        if message.get("reason") == "compiler-artifact" and message["target"]["name"] == "dig_nat_python":
            for name in message["filenames"]:
                if name.endswith((".so", ".dylib", ".dll")):
                    return Path(name)
    raise SystemExit("cargo named no library")


def main() -> None:
    library = build(sys.argv[1:])
    target = PACKAGE / ("_native.pyd" if library.suffix == ".dll" else "_native.abi3.so")
    # Beside and renamed: a running interpreter keeps the library that it has mapped.
    fresh = target.with_suffix(".new")
    shutil.copyfile(library, fresh)
    os.replace(fresh, target)


if __name__ == "__main__":
    main()
