#!/usr/bin/env python3
"""Runs the client checks of this folder and prints their results in a form that `cargo xtask test` reads.

    cargo xtask test clients

By hand: WEIR_BIN_DIR = a folder with weir-worker and weir-gateway, PYTHONPATH = a folder with the clients.
"""

import logging
import pathlib
import sys
import unittest


class Results(unittest.TestResult):
    """One line a test as it ends, `failed:` and `skipped:` lines with names, a line of counts at the end."""

    def __init__(self):
        super().__init__()
        self.passed = 0
        self.failed = []

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1
        print(f"{test.id()} ... ok", flush=True)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._fail(test, self.failures[-1][1])

    def addError(self, test, err):
        super().addError(test, err)
        self._fail(test, self.errors[-1][1])

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._fail(subtest, (self.failures + self.errors)[-1][1])

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        print(f"skipped: {test.id()}: {reason}", flush=True)

    def _fail(self, test, trace):
        self.failed.append(test.id())
        print(f"{test.id()} ... FAILED\n{trace}", flush=True)

    def summary(self):
        lines = [f"failed: {name}" for name in self.failed]
        counts = f"passed={self.passed} failed={len(self.failed)} skipped={len(self.skipped)}"
        return "\n".join([*lines, f"clients: {counts}"])


def main():
    # unittest runs event loops in debug mode, which remarks on every slow step of a client.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    results = Results()
    unittest.defaultTestLoader.discover(str(pathlib.Path(__file__).parent)).run(results)
    print(results.summary())
    return 1 if results.failed else 0


if __name__ == "__main__":
    sys.exit(main())
