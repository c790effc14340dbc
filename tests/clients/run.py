#!/usr/bin/env python3
"""Runs the client checks of this folder and prints their results in a form that `cargo xtask test` reads.

    cargo xtask test clients

By hand: WEIR_BIN_DIR = a folder with weir-worker, weir-gateway and examples/forward, PYTHONPATH = a folder with the
clients, WEIR_PERF_ANALYZER = that program, WEIR_MLSERVER = a folder with MLServer. Words on the command line choose
the checks whose names hold one of them; `--write` brings the table of docs/PROTOCOL.md up to date.
"""

import json
import logging
import os
import pathlib
import subprocess
import sys
import tempfile
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
        # A module that cannot be loaded says in its reason which client it is about: `client: why`.
        self.table.skip(getattr(test, "package", reason.split(":")[0]))
        print(f"skipped: {test.id()}: {reason}", flush=True)

    def _fail(self, test, part, trace):
        self.failed.append(part.id())
        self.table.record(test, False)
        print(f"{part.id()} ... FAILED\n{trace}", flush=True)

    def told(self):
        """What the process that runs all modules wants to know."""
        return {"passed": self.passed, "failed": self.failed, "skipped": len(self.skipped), "table": self.table.told()}


def chosen(suite, words):
    """The tests of a suite whose names hold one of the words, and modules that cannot be loaded."""
    for part in suite:
        if isinstance(part, unittest.TestSuite):
            yield from chosen(part, words)
        elif not words or any(word in part.id() for word in [*words, "unittest.loader"]):
            yield part


def run_module(name, words, results_file):
    """Runs one module's tests in this process."""
    # unittest runs event loops in debug mode, which remarks on every slow step of a client.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    results = Results()
    tests = unittest.defaultTestLoader.discover(str(HERE), f"{name}.py")
    unittest.TestSuite(chosen(tests, words)).run(results)
    pathlib.Path(results_file).write_text(json.dumps(results.told()))


def run_all(words, write):
    """Runs every module in a process of its own: two clients that bring the same messages cannot share one."""
    passed, failed, skipped, table = 0, [], 0, Table()
    with fleet.running() as environment, tempfile.TemporaryDirectory() as folder:
        for module in sorted(file.stem for file in HERE.glob("test_*.py")):
            file = pathlib.Path(folder) / module
            command = [sys.executable, "-B", __file__, f"--module={module}", f"--results={file}", *words]
            ended = subprocess.run(command, env=os.environ | environment, check=False)
            if not file.exists():
                failed.append(f"{module} ended with status {ended.returncode}")
                continue
            told = json.loads(file.read_text())
            passed, failed, skipped = passed + told["passed"], failed + told["failed"], skipped + told["skipped"]
            table.add(told["table"])
    if write:
        table.write()
    elif not words and table.differs():
        failed.append("docs/PROTOCOL.md: its table says something else than was seen (run.py --write)")
    for name in failed:
        print(f"failed: {name}")
    print(f"clients: passed={passed} failed={len(failed)} skipped={skipped}")
    return 1 if failed else 0


def main():
    options = dict(word[2:].partition("=")[::2] for word in sys.argv[1:] if word.startswith("--"))
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    if "module" in options:
        return run_module(options["module"], words, options["results"])
    return run_all(words, "write" in options)


if __name__ == "__main__":
    sys.exit(main())
