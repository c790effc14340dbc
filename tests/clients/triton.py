"""What every flavour of the Triton client is checked for; the test modules beside it bring a client each.

A flavour sets `library` (its module), `connect` (a client whose calls block) and what differs between REST and gRPC.
The models are those of models.py; results are compared bit for bit with libtorch itself (reference.py).
"""

import models
import numpy
import reference
import sides
from fleet import held_out_digits, shared
from models import ECHOED, NUMBERS, SLOW_SECONDS
from reference import sample
from table import calls
from tritonclient.utils import InferenceServerException

# Of 32 held-out images version 2 gets at most one wrong (its accuracy over all 450 is 0.998).
MOST_WRONG = 1
# Requests that run in one batch with others may differ in the last digits.
TOLERANCE = 1e-6
# How each reason to refuse shows in REST and in gRPC.
STATUS = {
    "bad-request": ("400", "INVALID_ARGUMENT"),
    "forbidden": ("403", "PERMISSION_DENIED"),
    "model-not-found": ("404", "NOT_FOUND"),
    "version-not-found": ("404", "NOT_FOUND"),
    "path-not-found": ("404", "UNIMPLEMENTED"),
    "unsupported": ("501", "UNIMPLEMENTED"),
    "not-ready": ("503", "UNAVAILABLE"),
    "deadline": ("504", "DEADLINE_EXCEEDED"),
    "shed": ("503", "UNAVAILABLE"),
}
# What a worker that has run the model of late foresees, others find out.
TOO_LITTLE_TIME = ("deadline", "shed")
EXTENSIONS = {"binary_tensor_data", "model_configuration", "model_repository", "parameters", "statistics"}

ROW = {"x": numpy.array([[1.5, -2.0, 3.25, 0.1]], dtype=numpy.float32)}

# What Weir does not offer: arguments of each call that a Triton server may answer.
NOT_OFFERED = {
    "get_cuda_shared_memory_status": (),
    "get_log_settings": (),
    "get_system_shared_memory_status": (),
    "get_trace_settings": ("digits",),
    "register_cuda_shared_memory": ("region", b"aGFuZGxl", 0, 64),
    "register_system_shared_memory": ("region", "/key", 64),
    "unregister_cuda_shared_memory": ("region",),
    "unregister_system_shared_memory": ("region",),
    "update_log_settings": ({"log_info": True},),
    "update_trace_settings": ("digits", {"trace_rate": "1"}),
}
# What a client does without asking the server.
LOCAL = {"close", "plugin", "register_plugin", "unregister_plugin"}


class Checks:
    """Run for each flavour at each side."""

    def setUp(self):
        self.client = self.connect(self.address())
        self.addCleanup(self.client.close)

    def tensor(self, name, array, **options):
        made = self.library.InferInput(name, list(array.shape), reference.datatype(array))
        made.set_data_from_numpy(array, **options)
        return made

    def tensors(self, arrays, **options):
        return [self.tensor(name, array, **options) for name, array in arrays.items()]

    def ask(self, model, arrays, **options):
        """The outputs of one inference, by name."""
        return self.outputs(self.client.infer(model, self.tensors(arrays), **options))

    def outputs(self, result):
        return {output["name"]: result.as_numpy(output["name"]) for output in self.response(result)["outputs"]}

    def refused(self, reason, *arguments, call="infer", **options):
        """The message of a call that fails for this reason, or for one of these."""
        with self.assertRaises(InferenceServerException) as raised:
            getattr(self.client, call)(*arguments, **options)
        status = raised.exception.status().removeprefix("StatusCode.")
        reasons = (reason,) if isinstance(reason, str) else reason
        self.assertIn(status, [self.status(each) for each in reasons], raised.exception)
        self.assertTrue(raised.exception.message())
        return raised.exception.message()

    def assert_same(self, found, expected):
        """Equal to the last bit."""
        self.assertEqual(found.shape, expected.shape)
        self.assertEqual(found.dtype, expected.dtype)
        self.assertEqual(reference.laid_out(found), reference.laid_out(expected))

    def assert_as_libtorch(self, model, arrays, outputs, version=1):
        """Outputs, by name, against a direct run of the model's file."""
        file = shared().models / model / str(version) / "model.pt"
        expected = reference.forward(file, list(arrays.values()))
        self.assertEqual(len(outputs), len(expected))
        for found, wanted in zip(outputs.values(), expected, strict=True):
            self.assert_same(found, wanted)

    @calls("is_server_live", "is_server_ready")
    def test_live_and_ready(self):
        self.assertTrue(self.client.is_server_live())
        self.assertTrue(self.client.is_server_ready())

    @calls("is_model_ready", "is_model_ready: model_version=")
    def test_model_ready(self):
        self.assertTrue(self.client.is_model_ready("digits"))
        for version in ("1", "2", "stable"):
            self.assertTrue(self.client.is_model_ready("digits", version), version)

    def test_what_is_unknown_is_not_ready(self):
        # As Triton has it, an answer and no error, over gRPC too.
        for model, version in (("digits", "99"), ("digits", "unknown"), ("nothing", "")):
            with self.subTest(model=model, version=version):
                self.assertFalse(self.client.is_model_ready(model, version))

    @calls("get_server_metadata")
    def test_server_metadata(self):
        metadata = self.told("get_server_metadata")
        self.assertEqual(metadata["name"], self.server)
        self.assertRegex(metadata["version"], r"^\d+\.\d+\.\d+")
        self.assertLessEqual(EXTENSIONS, set(metadata["extensions"]))

    @calls("get_model_metadata", "get_model_metadata: model_version=")
    def test_model_metadata(self):
        for version in ("", "1", "stable"):
            metadata = self.told("get_model_metadata", "digits", version)
            self.assertEqual(metadata["name"], "digits")
            self.assertEqual(metadata["platform"], "pytorch_libtorch")
            self.assertEqual(sorted(metadata["versions"]), ["1"] if version else ["1", "2"])
            for name, dims, tensors in (("image", [-1, 1, 8, 8], "inputs"), ("scores", [-1, 10], "outputs")):
                (tensor,) = metadata[tensors]
                self.assertEqual((tensor["name"], tensor["datatype"]), (name, "FP32"))
                self.assertEqual([int(dim) for dim in tensor["shape"]], dims)
        self.refused("model-not-found", "nothing", call="get_model_metadata")
        self.refused("version-not-found", "digits", "99", call="get_model_metadata")

    @calls("get_model_config", "get_model_config: model_version=")
    def test_model_config(self):
        for version in ("", "1", "stable"):
            config = self.config("digits", version)
            self.assertEqual((config["name"], config["max_batch_size"]), ("digits", 32))
            self.assertEqual((config["platform"], config["backend"]), ("pytorch_libtorch", "pytorch"))
            self.assertIn("dynamic_batching", config)
            for name, dims, tensors in (("image", [1, 8, 8], "input"), ("scores", [10], "output")):
                (tensor,) = config[tensors]
                self.assertEqual((tensor["name"], tensor["data_type"]), (name, "TYPE_FP32"))
                self.assertEqual([int(dim) for dim in tensor["dims"]], dims, "without the batch dimension")
        unbatched = self.config("words")
        self.assertEqual(unbatched.get("max_batch_size", 0), 0)
        self.assertEqual(unbatched["input"][0]["data_type"], "TYPE_STRING")
        self.assertEqual([int(dim) for dim in unbatched["input"][0]["dims"]], [-1])
        self.refused("model-not-found", "nothing", call="get_model_config")

    @calls("get_model_repository_index")
    def test_repository_index(self):
        index = {(one["name"], one["version"]): one["state"] for one in self.index()}
        expected = {(name, "1"): "READY" for name in models.NAMES} | {("digits", "2"): "READY"}
        self.assertEqual(index, expected)

    @calls("get_inference_statistics", "get_inference_statistics: model_version=")
    def test_statistics(self):
        before = self.statistics("digits", "2")
        images, _ = held_out_digits(3)
        for _ in range(4):
            self.ask("digits", {"image": images}, model_version="2")
        self.refused("bad-request", "digits", self.tensors({"image": images.reshape(1, 3, 8, 8)}), model_version="2")
        after = self.statistics("digits", "2")
        grown = lambda *path: count(after, *path) - count(before, *path)
        self.assertEqual(grown("inference_count"), 12, "rows")
        self.assertEqual(grown("execution_count"), 4, "forward passes")
        for part in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
            self.assertEqual(grown("inference_stats", part, "count"), 4, part)
        self.assertEqual(grown("inference_stats", "fail", "count"), 1)
        self.assertGreater(grown("inference_stats", "compute_infer", "ns"), 0)
        whole, forward = (grown("inference_stats", part, "ns") for part in ("success", "compute_infer"))
        self.assertGreaterEqual(whole, forward)
        self.assertEqual(passes(after, rows=3) - passes(before, rows=3), 4)
        self.assertGreater(count(after, "last_inference"), count(before, "last_inference"))

    @calls("get_inference_statistics: of every model")
    def test_statistics_of_every_model(self):
        found = {(one["name"], one["version"]) for one in self.told("get_inference_statistics")["model_stats"]}
        self.assertEqual(found, {(name, "1") for name in models.NAMES} | {("digits", "2")})
        both = {one["version"] for one in self.told("get_inference_statistics", "digits")["model_stats"]}
        self.assertEqual(both, {"1", "2"})
        self.refused("model-not-found", "nothing", call="get_inference_statistics")

    @calls("infer")
    def test_digits_are_recognised_as_libtorch_does(self):
        images, digits = held_out_digits(32)
        outputs = self.ask("digits", {"image": images})
        self.assert_as_libtorch("digits", {"image": images}, outputs, version=2)
        self.assertLessEqual((outputs["scores"].argmax(axis=1) != digits).sum(), MOST_WRONG)

    @calls("infer: model_version=")
    def test_a_version_and_a_label_answer(self):
        images, _ = held_out_digits(8)
        for version, number in (("1", 1), ("2", 2), ("stable", 1), ("", 2)):
            result = self.client.infer("digits", self.tensors({"image": images}), model_version=version)
            self.assertEqual(self.response(result)["model_version"], str(number))
            self.assert_as_libtorch("digits", {"image": images}, self.outputs(result), number)
        self.refused("version-not-found", "digits", self.tensors({"image": images}), model_version="99")
        self.refused("version-not-found", "digits", self.tensors({"image": images}), model_version="unknown")

    @calls("infer: every datatype")
    def test_every_datatype(self):
        arrays = {f"in_{kind}": sample(kind) for kind in NUMBERS}
        self.assert_as_libtorch("numbers", arrays, self.ask("numbers", arrays))
        for kind in ECHOED:
            self.assert_same(self.ask(f"echo_{kind}", {"x": sample(kind)})["y"], sample(kind))

    @calls("infer: BYTES")
    def test_texts(self):
        texts = numpy.array([b"weir", b"", "straße".encode(), b"x" * 300], dtype=numpy.object_)
        self.assert_as_libtorch("words", {"words": texts}, self.ask("words", {"words": texts}))

    @calls("infer: outputs=")
    def test_outputs_can_be_chosen(self):
        arrays = {"a": numpy.arange(8, dtype=numpy.float32).reshape(2, 4), "b": numpy.ones((2, 2), dtype=numpy.int64)}
        wanted = lambda *names: [self.library.InferRequestedOutput(name) for name in names]
        outputs = self.ask("pair", arrays, outputs=wanted("zeros", "echo"))
        self.assertEqual(list(outputs), ["zeros", "echo"], "in the order asked for")
        self.assert_same(outputs["echo"], arrays["a"])
        self.assert_same(outputs["zeros"], numpy.zeros((2, 3), dtype=numpy.int64))
        self.assertEqual(list(self.ask("pair", arrays, outputs=wanted("zeros"))), ["zeros"])
        self.assertEqual(list(self.ask("pair", arrays)), ["echo", "zeros"], "in the model's order")
        self.refused("bad-request", "pair", self.tensors(arrays), outputs=wanted("nothing"))

    @calls("infer: request_id=")
    def test_the_id_comes_back(self):
        result = self.client.infer("echo_FP32", self.tensors(ROW), request_id="the id")
        self.assertEqual(self.response(result)["id"], "the id")

    @calls("infer: priority=, parameters=, headers=")
    def test_what_is_only_advice_changes_nothing(self):
        parameters = {"number": 1, "text": "x", "truth": True}
        advice = {"priority": 1, "parameters": parameters, "headers": {"x-request-id": "advice"}}
        self.assert_same(self.ask("echo_FP32", ROW, **advice)["y"], ROW["x"])

    @calls("infer: timeout=")
    def test_a_deadline_that_passes(self):
        row = {"x": numpy.zeros((1, 1), dtype=numpy.float32)}
        microseconds = int(SLOW_SECONDS * 1e6)
        self.refused(TOO_LITTLE_TIME, "slow", self.tensors(row), timeout=microseconds // 10)
        self.assert_same(self.ask("slow", row, timeout=microseconds * 100)["y"], row["x"])

    def test_a_sequence_needs_a_stateful_model(self):
        sequence = {"sequence_id": 7, "sequence_start": True}
        self.assertIn("stateful", self.refused("bad-request", "echo_FP32", self.tensors(ROW), **sequence))

    @calls("infer: 6 MB of input")
    def test_a_large_input(self):
        picture = numpy.random.default_rng(7).random((2, 3, 512, 512), dtype=numpy.float32)
        self.assert_as_libtorch("picture", {"picture": picture}, self.ask("picture", {"picture": picture}))

    def test_errors_say_what_was_expected(self):
        image = numpy.zeros((1, 1, 8, 8), dtype=numpy.float32)
        for status, expected, model, arrays in (
            ("model-not-found", "nothing", "nothing", {"image": image}),
            ("bad-request", "[-1,1,8,8]", "digits", {"image": image.reshape(1, 1, 4, 16)}),
            ("bad-request", "FP32", "digits", {"image": image.astype(numpy.int64)}),
            ("bad-request", "image", "digits", {"picture": image}),
            ("bad-request", "b", "pair", {"a": numpy.zeros((1, 4), dtype=numpy.float32)}),
        ):
            with self.subTest(expected=expected, model=model):
                self.assertIn(expected, self.refused(status, model, self.tensors(arrays)))
                self.assert_same(self.ask("echo_FP32", ROW)["y"], ROW["x"])

    @calls(*NOT_OFFERED, refused="path-not-found")
    def test_what_is_not_offered_is_refused(self):
        for call, arguments in NOT_OFFERED.items():
            with self.subTest(call=call):
                self.refused("path-not-found", *arguments, call=call)


class Worker(sides.Worker):
    """What a worker allows its own clients."""

    @calls("load_model", "unload_model")
    def test_a_model_goes_and_comes_back(self):
        self.addCleanup(self.client.load_model, "spare")
        row = {"x": numpy.zeros((1, 1), dtype=numpy.float32)}
        self.client.unload_model("spare")
        self.assertFalse(self.client.is_model_ready("spare"))
        (state,) = [one["state"] for one in self.index() if one["name"] == "spare"]
        self.assertEqual(state, "UNAVAILABLE")
        self.refused("not-ready", "spare", self.tensors(row))
        self.client.load_model("spare")
        self.assertTrue(self.client.is_model_ready("spare"))
        self.assert_same(self.ask("spare", row)["y"], row["x"])
        self.client.load_model("spare")
        self.assert_same(self.ask("spare", row)["y"], row["x"])
        self.refused("model-not-found", "nothing", call="load_model")

    @calls("load_model: config=", "load_model: files=", refused="unsupported")
    def test_a_model_comes_from_the_repository_only(self):
        self.refused("unsupported", "spare", call="load_model", config="{}")
        self.refused("unsupported", "spare", call="load_model", config="{}", files={"file:1/model.pt": b"x"})
        self.assertTrue(self.client.is_model_ready("spare"))


class Gateway(sides.Gateway):
    """What the gateway allows clients."""

    @calls("load_model", "unload_model", refused="forbidden")
    def test_clients_load_and_unload_nothing(self):
        self.refused("forbidden", "spare", call="load_model")
        self.refused("forbidden", "spare", call="unload_model")
        self.assertTrue(self.client.is_model_ready("spare"))

    @calls("load_model: config=", "load_model: files=", refused="forbidden")
    def test_clients_bring_no_models(self):
        self.refused("forbidden", "spare", call="load_model", config="{}", files={"file:1/model.pt": b"x"})


def count(of, *path):
    """A number in statistics; absent is 0, and gRPC's JSON has large ones as text."""
    for key in path:
        of = of.get(key, {})
    return int(of or 0)


def passes(statistics, rows):
    """How many forward passes had so many rows."""
    sizes = statistics.get("batch_stats", [])
    return sum(count(size, "compute_infer", "count") for size in sizes if count(size, "batch_size") == rows)
