"""A worker of another make, MLServer, beside two of Weir's behind one gateway: requests spread, health follows it."""

import json
import os
import pathlib
import shutil
import sys
import tempfile
import time
import unittest

import numpy
import tritonclient.grpc
import tritonclient.http
from fleet import READY_LIMIT_SECONDS, Servers, fetch, free_addresses, healths, shared
from table import calls
from tritonclient.utils import InferenceServerException

PACKAGE = "mlserver 1.7.1"
PACKAGES = os.environ.get("WEIR_MLSERVER")
if PACKAGES is None:
    why = os.environ.get("WEIR_MLSERVER_MISSING", "WEIR_MLSERVER is not set")
    raise unittest.SkipTest(f"{PACKAGE}: {why}")

MODEL = pathlib.Path(__file__).parent / "mlserver_model"
START = "from mlserver.cli import main; main()"
# Of so many requests in turn each of three workers gets a third.
REQUESTS = 60
THIRD = REQUESTS // 3


class Foreign:
    """MLServer with the model `spread`; `rest` and `grpc` are its addresses."""

    def __init__(self, servers):
        self.servers = servers
        self.rest, self.grpc, metrics = free_addresses(3)
        port = lambda address: int(address.rsplit(":", 1)[1])
        settings = {"host": "127.0.0.1", "parallel_workers": 0}
        settings |= {"http_port": port(self.rest), "grpc_port": port(self.grpc), "metrics_port": port(metrics)}
        self.folder = servers.folder / "mlserver"
        shutil.copytree(MODEL, self.folder / "spread")
        (self.folder / "settings.json").write_text(json.dumps(settings))

    def start(self):
        command = [sys.executable, "-B", "-c", START, "start", self.folder]
        environment = os.environ | {"PYTHONPATH": PACKAGES}
        self.child = self.servers.child("mlserver-log", command, env=environment)
        ready = f"http://{self.rest}/v2/models/spread/ready"
        self.child.wait_until(lambda: fetch(ready) is not None and self.grpc_is_up())

    def grpc_is_up(self):
        with tritonclient.grpc.InferenceServerClient(self.grpc) as client:
            try:
                return client.is_server_live()
            except InferenceServerException:
                return False


def setUpModule():
    global foreign, gateway, admin
    folder = tempfile.TemporaryDirectory(prefix="weir-mlserver-")
    unittest.addModuleCleanup(folder.cleanup)
    servers = Servers(pathlib.Path(folder.name))
    unittest.addModuleCleanup(servers.close)
    foreign = Foreign(servers)
    foreign.start()
    worker = f'[[worker]]\nname = "m"\nkind = "oip"\nurl = "http://{foreign.rest}"\n'
    worker += f'grpc_url = "http://{foreign.grpc}"\n'
    gateway, admin = servers.gateway("mixed", shared().workers, worker)


class Checks:
    package = PACKAGE
    side = "gateway"

    def setUp(self):
        self.triton = self.library.InferenceServerClient(gateway)
        self.addCleanup(self.triton.close)

    def ask(self, number):
        """Whether MLServer answered; the answer is right in any case."""
        given = numpy.array([[number, number / 4, -1.0, 0.5]], dtype=numpy.float32)
        result = self.infer(given)
        numpy.testing.assert_array_equal(result.as_numpy("y"), given)
        return self.maker(result) == "mlserver"

    def answered(self):
        """How many of many requests MLServer answered."""
        return sum(self.ask(number) for number in range(REQUESTS))

    def wait_for(self, health):
        deadline = time.monotonic() + READY_LIMIT_SECONDS
        while healths(admin)["m"] != health:
            self.assertLess(time.monotonic(), deadline, f"MLServer does not become {health}")
            time.sleep(0.05)

    def test_requests_spread(self):
        self.wait_for("healthy")
        self.assertAlmostEqual(self.answered(), THIRD, delta=1)

    def test_health_follows_its_state(self):
        self.wait_for("healthy")
        foreign.child.stop()
        # Clients do not notice, before the gateway has and after.
        self.assertEqual(self.answered(), 0)
        self.wait_for("unhealthy")
        self.assertEqual(self.answered(), 0)
        foreign.start()
        self.wait_for("healthy")
        self.assertAlmostEqual(self.answered(), THIRD, delta=1)

    def test_the_model_is_one(self):
        index = [one["version"] for one in self.index() if one["name"] == "spread"]
        self.assertEqual(index, ["1"])
        self.assertTrue(self.triton.is_model_ready("spread"))
        self.assertTrue(self.triton.is_model_ready("spread", "1"))


class Rest(Checks, unittest.TestCase):
    library = tritonclient.http
    flavour = "rest"

    def infer(self, given):
        # MLServer does not read binary tensors over REST.
        tensor = tritonclient.http.InferInput("x", list(given.shape), "FP32")
        tensor.set_data_from_numpy(given, binary_data=False)
        outputs = [tritonclient.http.InferRequestedOutput("y", binary_data=False)]
        return self.triton.infer("spread", [tensor], outputs=outputs)

    def maker(self, result):
        return result.get_response().get("parameters", {}).get("maker")

    def index(self):
        return self.triton.get_model_repository_index()

    @calls("as a worker")
    def test_requests_spread(self):
        super().test_requests_spread()


class Grpc(Checks, unittest.TestCase):
    library = tritonclient.grpc
    flavour = "grpc"

    def infer(self, given):
        tensor = tritonclient.grpc.InferInput("x", list(given.shape), "FP32")
        tensor.set_data_from_numpy(given)
        return self.triton.infer("spread", [tensor])

    def maker(self, result):
        return result.get_response().parameters["maker"].string_param

    def index(self):
        return self.triton.get_model_repository_index(as_json=True)["models"]

    @calls("as a worker")
    def test_requests_spread(self):
        super().test_requests_spread()
