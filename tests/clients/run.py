#!/usr/bin/env python3
"""Runs the client checks of this folder and prints their results in a form that `cargo xtask test` reads.

    cargo xtask test clients

By hand: WEIR_BIN_DIR = a folder with weir-worker, weir-gateway and examples/forward, PYTHONPATH = a folder with the
clients, WEIR_PERF_ANALYZER = that program, WEIR_MLSERVER = a folder with MLServer. Words on the command line choose
the checks whose names hold one of them; `--write` brings the table of docs/PROTOCOL.md up to date.
"""

import logging
import pathlib
import sys
import time
import unittest

import fleet
from table import Table

HERE = pathlib.Path(__file__).parent


class Results(unittest.TestResult):
    """One line a test as it ends, `failed:` and `skipped:` lines with names, a line of counts at the end."""

    def __init__(self):
        super().__init__()
        self.passed = 0
        self.failed = []
        self.table = Table()

    def startTest(self, test):
        super().startTest(test)
        self.started = time.monotonic()

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1
        self.table.record(test, True)
        print(f"{test.id()} ... ok ({time.monotonic() - self.started:.1f} s)", flush=True)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._fail(test, test, self.failures[-1][1])

    def addError(self, test, err):
        super().addError(test, err)
        self._fail(test, test, self.errors[-1][1])

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._fail(test, subtest, (self.failures + self.errors)[-1][1])

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        # A module that cannot be loaded says in its reason which clients it is about: `client, client: why`.
        for client in getattr(test, "client", reason.split(":")[0]).split(", "):
            self.table.skip(client)
        print(f"skipped: {test.id()}: {reason}", flush=True)

    def _fail(self, test, part, trace):
        self.failed.append(part.id())
        self.table.record(test, False)
        print(f"{part.id()} ... FAILED\n{trace}", flush=True)

    def fail(self, name, why):
        """Something else than a test that is not as it should be."""
        self.failed.append(name)
        print(f"{name} ... FAILED\n{why}", flush=True)

    def summary(self):
        lines = [f"failed: {name}" for name in self.failed]
        counts = f"passed={self.passed} failed={len(self.failed)} skipped={len(self.skipped)}"
        return "\n".join([*lines, f"clients: {counts}"])


def chosen(suite, words):
    """The tests of a suite whose names hold one of the words; all of them without words."""
    for part in suite:
        if isinstance(part, unittest.TestSuite):
            yield from chosen(part, words)
        elif not words or any(word in part.id() for word in words):
            yield part


def main():
    words = [word for word in sys.argv[1:] if word != "--write"]
    # unittest runs event loops in debug mode, which remarks on every slow step of a client.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    results = Results()
    tests = unittest.defaultTestLoader.discover(str(HERE))
    try:
        unittest.TestSuite(chosen(tests, words)).run(results)
    finally:
        fleet.stop_shared()
    if "--write" in sys.argv:
        results.table.write()
    elif not words and results.table.differs():
        results.fail("docs/PROTOCOL.md", "its table says something else than was seen: run.py --write")
    print(results.summary())
    return 1 if results.failed else 0


if __name__ == "__main__":
    sys.exit(main())
