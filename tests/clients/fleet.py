"""A worker and a gateway for the client checks: the real binaries on free ports of loopback.

Serves the sample model `digits` and `pair`, a synthetic model with two inputs and two outputs, of which `echo` answers
what `a` was given and `zeros` is zero. The binaries come from the folder WEIR_BIN_DIR (`cargo xtask test` sets it).
"""

import contextlib
import csv
import ctypes
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

import numpy

DIGITS = pathlib.Path(__file__).resolve().parents[2] / "worker/models/digits"
READY_LIMIT_SECONDS = 60
STOP_LIMIT_SECONDS = 10
PR_SET_PDEATHSIG = 1

PAIR = """
backend = "synthetic"
max_batch_size = 8
[[input]]
name = "a"
datatype = "FP32"
shape = [-1, 4]
[[input]]
name = "b"
datatype = "INT64"
shape = [-1, 2]
[[output]]
name = "echo"
datatype = "FP32"
shape = [-1, 4]
[[output]]
name = "zeros"
datatype = "INT64"
shape = [-1, 3]
[synthetic]
base = "1ms"
per_item = "0s"
"""


class Fleet(contextlib.ExitStack):
    """Running servers; `worker` and `gateway` are their addresses, `host:port`. `close` ends everything."""

    def __init__(self):
        super().__init__()
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self):
        folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory(prefix="weir-clients-")))
        models = folder / "models"
        (models / "pair/1").mkdir(parents=True)
        (models / "pair/model.toml").write_text(PAIR)
        (models / "digits").symlink_to(DIGITS)
        self.worker, self.gateway, admin = free_addresses(3)
        worker = f'[worker]\nname = "w"\nlisten = "{self.worker}"\nrepository = "{models}"\n'
        gateway = f'[gateway]\nlisten = ["{self.gateway}"]\ndrain_delay = "0s"\n[admin]\nlisten = "{admin}"\n'
        gateway += f'[[worker]]\nname = "w"\nurl = "http://{self.worker}"\n'
        worker = self._server(folder, "weir-worker", worker)
        gateway = self._server(folder, "weir-gateway", gateway)
        wait_until_ready(worker, self.worker)
        wait_until_ready(gateway, self.gateway)

    def _server(self, folder, program, config):
        file = folder / f"{program}.toml"
        file.write_text(f"version = 1\n{config}")
        binary = pathlib.Path(os.environ["WEIR_BIN_DIR"]) / program
        log = self.enter_context(open(folder / f"{program}.log", "w+"))
        libc = ctypes.CDLL(None)
        # The kernel ends the server when this process is killed.
        bind = lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        child = subprocess.Popen([binary, "--config", file], stdout=log, stderr=log, preexec_fn=bind)
        child.log = log
        self.callback(stop, child)
        return child


def stop(child):
    child.terminate()
    try:
        child.wait(STOP_LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def free_addresses(count):
    """Addresses that nobody listens on; all are held until the last is known, so that no two are the same."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]


def wait_until_ready(child, address):
    """Until both models are ready there; raises with the server's log when it ended or took too long."""
    deadline = time.monotonic() + READY_LIMIT_SECONDS
    while not all(answers(f"http://{address}/v2/models/{model}/ready") for model in ("digits", "pair")):
        if child.poll() is not None or time.monotonic() > deadline:
            child.log.seek(0)
            raise RuntimeError(f"{child.args[0]} is not ready (status {child.poll()}):\n{child.log.read()}")
        time.sleep(0.05)


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def held_out_digits(count):
    """The first `count` held-out images as the model takes them, and their digits."""
    with open(DIGITS / "holdout.csv") as file:
        rows = list(csv.reader(file))[1 : count + 1]
    images = numpy.array([row[1:] for row in rows], dtype=numpy.float32).reshape(-1, 1, 8, 8) / 16
    return images, numpy.array([int(row[0]) for row in rows])
