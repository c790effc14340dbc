#!/usr/bin/env python3
"""Unpacks wheels: the members that match a pattern, with their permissions.

    python3 xtask/unpack.py WHEELS_FOLDER DESTINATION PATTERN...
"""

import fnmatch
import pathlib
import sys
import zipfile


def unpack(wheel: pathlib.Path, destination: pathlib.Path, patterns: list[str]) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            if any(fnmatch.fnmatchcase(member.filename, pattern) for pattern in patterns):
                file = archive.extract(member, destination)
                # zipfile drops the executable bit.
                if mode := (member.external_attr >> 16) & 0o777:
                    pathlib.Path(file).chmod(mode)


if __name__ == "__main__":
    for found in sorted(pathlib.Path(sys.argv[1]).glob("*.whl")):
        unpack(found, pathlib.Path(sys.argv[2]), sys.argv[3:])
