"""Workers and a gateway for the client checks: the real binaries on free ports of loopback.

Two workers, `a` and `b`, serve the models of models.py; a gateway stands before both. All checks share them, so a check
may load and unload only the model `spare`, at worker `a`. The binaries come from the folder WEIR_BIN_DIR.
"""

import contextlib
import csv
import functools
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import models
import numpy

READY_LIMIT_SECONDS = 60
STOP_LIMIT_SECONDS = 10
# Becomes the program in its arguments, which the kernel ends when the process that started it is gone.
BOUND = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])"
# Where the shared servers are, for the processes that run checks.
FLEET = "WEIR_CLIENTS_FLEET"


class Servers(contextlib.ExitStack):
    """Running programs with their configuration and logs in `folder`; all end when it is closed."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def weir(self, program, name, config):
        """Starts one of Weir's programs with this configuration."""
        file = self.folder / f"{name}.toml"
        file.write_text(f"version = 1\n{config}")
        binary = pathlib.Path(os.environ["WEIR_BIN_DIR"]) / program
        return self.child(name, [binary, "--config", file])

    def child(self, name, command, **options):
        """Starts a program."""
        return self.enter_context(Child(self.folder / f"{name}.log", command, **options))

    def workers(self, names, repository):
        """The addresses of one worker a name, when they serve every model."""
        addresses = free_addresses(len(names))
        children = []
        for name, address in zip(names, addresses, strict=True):
            config = f'[worker]\nname = "{name}"\nlisten = "{address}"\nrepository = "{repository}"\ncontrol = true\n'
            children.append(self.weir("weir-worker", name, config))
        for child, address in zip(children, addresses, strict=True):
            child.wait_until(lambda address=address: serves_all(address))
        return addresses

    def gateway(self, name, workers, more=""):
        """The addresses of a gateway for clients and for operators, when all its workers are healthy."""
        address, admin = free_addresses(2)
        config = f'[gateway]\nlisten = ["{address}"]\ndrain_delay = "0s"\npolicy = "round_robin"\n'
        config += f'[admin]\nlisten = "{admin}"\n'
        config += '[[model]]\nname = "digits"\nversion_labels = { stable = 1 }\n'
        for worker, of in zip("abcdef", workers, strict=False):
            config += f'[[worker]]\nname = "{worker}"\nurl = "http://{of}"\n'
        child = self.weir("weir-gateway", name, config + more)
        child.wait_until(lambda: set(healths(admin).values()) == {"healthy"} and serves_all(address))
        return address, admin


@contextlib.contextmanager
def running():
    """Starts what all checks share; the environment that tells `shared` where it is."""
    with tempfile.TemporaryDirectory(prefix="weir-clients-") as folder:
        folder = pathlib.Path(folder)
        models.write(folder / "models")
        with Servers(folder) as servers:
            workers = servers.workers("ab", folder / "models")
            gateway, _ = servers.gateway("gateway", workers)
            yield {FLEET: json.dumps({"folder": str(folder), "workers": workers, "gateway": gateway})}


class Shared:
    """The servers that all checks share: addresses, `host:port`, and the folder of their models."""

    def __init__(self):
        told = json.loads(os.environ[FLEET])
        self.folder = pathlib.Path(told["folder"])
        self.models = self.folder / "models"
        self.workers = told["workers"]
        self.gateway = told["gateway"]


@functools.cache
def shared():
    return Shared()


class Child:
    """A running program that does not outlive this one; its output goes to a file."""

    def __init__(self, log, command, **options):
        self.log = log
        self.program = command[0]
        # Not by a function between fork and exec: a process with gRPC's threads must not run one.
        command = [sys.executable, "-c", BOUND, *command]
        with open(log, "a") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output, **options)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.stop()

    def stop(self):
        """Asks it to end; kills it when it does not within the limit."""
        self.process.terminate()
        try:
            self.process.wait(STOP_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def wait_until(self, ready):
        """Until `ready` answers true; raises with the log when the program ended or it took too long."""
        deadline = time.monotonic() + READY_LIMIT_SECONDS
        while not ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                log = self.log.read_text()
                raise RuntimeError(f"{self.program} is not ready (status {self.process.poll()}):\n{log}")
            time.sleep(0.05)


def free_addresses(count):
    """Addresses that nobody listens on; all are held until the last is known, so that no two are the same."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]


def serves_all(address):
    """Whether every model is ready there."""
    return all(fetch(f"http://{address}/v2/models/{model}/ready") is not None for model in models.NAMES)


def healths(admin):
    """The health of each worker as a gateway sees it, by name; empty when it does not answer."""
    text = fetch(f"http://{admin}/v1/workers")
    return {} if text is None else {one["name"]: one["health"] for one in json.loads(text)["workers"]}


def fetch(url):
    """What `url` answers under status 200, else nothing."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.read() if answer.status == 200 else None
    except (urllib.error.URLError, OSError):
        return None


def held_out_digits(count):
    """The first `count` held-out images as the model takes them, and their digits."""
    with open(models.DIGITS / "holdout.csv") as file:
        rows = list(csv.reader(file))[1 : count + 1]
    images = numpy.array([row[1:] for row in rows], dtype=numpy.float32).reshape(-1, 1, 8, 8) / 16
    return images, numpy.array([int(row[0]) for row in rows])
