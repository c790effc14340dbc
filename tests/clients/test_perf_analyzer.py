"""NVIDIA's load generator, perf_analyzer: over HTTP, gRPC and gRPC streams, by concurrency and by rate.

It reads metadata, configuration and statistics before and after its load, so a run that ends well has used all of them.
"""

import csv
import json
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

from fleet import fetch
from sides import Gateway, Worker
from table import calls

PROGRAM = os.environ.get("WEIR_PERF_ANALYZER")
PACKAGE = "perf_analyzer 2.51.0"
if PROGRAM is None:
    why = os.environ.get("WEIR_PERF_ANALYZER_MISSING", "WEIR_PERF_ANALYZER is not set")
    raise unittest.SkipTest(f"{PACKAGE}: {why}")

REQUESTS = 200
AT_ONCE = 4
ROWS = 8
LIMIT_SECONDS = 60
CONCURRENCY = ["--concurrency-range", str(AT_ONCE)]
RATE = ["--request-rate-range", str(REQUESTS)]
JSON = ["--input-tensor-format", "json", "--output-tensor-format", "json"]
STREAM = ["-i", "grpc", "--streaming"]


class Checks:
    package = PACKAGE

    def run_load(self, *options):
        """Sends requests to `digits`, `ROWS` rows each; the line of the report."""
        with tempfile.TemporaryDirectory() as folder:
            report = pathlib.Path(folder) / "report.csv"
            command = [PROGRAM, "-m", "digits", "-u", self.address(), "-b", str(ROWS), "-f", report]
            command += ["--request-count", str(REQUESTS), *options]
            run = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
            said = run.stdout + run.stderr
            self.assertEqual(run.returncode, 0, said)
            self.assertNotIn("error", said.lower())
            (line,) = list(csv.DictReader(report.read_text().splitlines()))
            return said, line

    def assert_measured(self, *options):
        before = self.succeeded()
        said, line = self.run_load(*options)
        self.assertEqual(self.succeeded() - before, REQUESTS)
        self.assertGreater(float(line["Inferences/Second"]), 0)
        # The server's own account, out of its statistics. It is asked first when some are answered already.
        (answered,) = re.findall(r"Successful request count: (\d+)", said)
        self.assertIn(int(answered), range(REQUESTS // 2, REQUESTS + 1))
        self.assertIn(f"Inference count: {int(answered) * ROWS}", said)
        for part in ("Server Queue", "Server Compute Input", "Server Compute Infer", "Server Compute Output"):
            self.assertGreaterEqual(float(line[part]), 0, part)
        self.assertGreater(float(line["Server Compute Infer"]), 0)

    def succeeded(self):
        """Requests that the server answered well since its start."""
        statistics = json.loads(fetch(f"http://{self.address()}/v2/models/digits/versions/2/stats"))
        return statistics["model_stats"][0]["inference_stats"]["success"]["count"]

    @calls("-i http --concurrency-range")
    def test_http_by_concurrency(self):
        self.assert_measured("-i", "http", *CONCURRENCY)

    @calls("-i http --request-rate-range")
    def test_http_by_rate(self):
        self.assert_measured("-i", "http", *RATE)

    @calls("-i http --input-tensor-format json --output-tensor-format json")
    def test_http_as_json(self):
        self.assert_measured("-i", "http", *CONCURRENCY, *JSON)

    @calls("-i grpc --concurrency-range")
    def test_grpc_by_concurrency(self):
        self.assert_measured("-i", "grpc", *CONCURRENCY)

    @calls("-i grpc --request-rate-range")
    def test_grpc_by_rate(self):
        self.assert_measured("-i", "grpc", *RATE)

    @calls("-i grpc --grpc-compression-algorithm gzip")
    def test_grpc_compressed(self):
        self.assert_measured("-i", "grpc", *CONCURRENCY, "--grpc-compression-algorithm", "gzip")

    @calls("-i grpc --streaming --concurrency-range")
    def test_stream_by_concurrency(self):
        self.assert_measured(*STREAM, *CONCURRENCY)

    @calls("-i grpc --streaming --request-rate-range")
    def test_stream_by_rate(self):
        self.assert_measured(*STREAM, *RATE)


class PerfAnalyzerWorker(Checks, Worker, unittest.TestCase):
    pass


class PerfAnalyzerGateway(Checks, Gateway, unittest.TestCase):
    pass
