"""The unmodified KServe SDK's inference clients, REST and gRPC."""

import itertools
import logging
import unittest

import numpy
import reference
from blocking import Blocking
from fleet import held_out_digits, shared
from models import ECHOED
from reference import sample
from sides import Gateway, Worker
from table import calls, proven, public, version

try:
    from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
except ModuleNotFoundError as error:
    # The SDK is not offered for every Python that the other clients are.
    raise unittest.SkipTest(f"kserve: the SDK is not installed: {error}") from error

# What the clients do without asking the server, and `explain`, which is of another protocol.
LOCAL = {"close", "explain"}
# Over REST the SDK writes no bytes but text, and neither writes nor reads numbers that are not finite.
GIVEN = {
    "BYTES": numpy.array([[b"weir", b""], ["straße".encode(), b"x"]], dtype=numpy.object_),
    "FP32": numpy.array([[0.1, -0.0, 3.4e38], [1e-45, 16777217.0, -2.5]], dtype=numpy.float32),
}


class Checks:
    """Run for each client at each side."""

    def setUp(self):
        # The SDK logs every error that it raises.
        logging.disable(logging.ERROR)
        self.addCleanup(logging.disable, logging.NOTSET)
        self.sdk = self.connect()
        self.addCleanup(self.sdk.close)

    def tensor(self, name, array, **options):
        made = InferInput(name, list(array.shape), reference.datatype(array))
        made.set_data_from_numpy(array, **options)
        return made

    def assert_as_libtorch(self, model, arrays, answer, version=1):
        """An answer's outputs against a direct run of the model's file, bit for bit."""
        file = shared().models / model / str(version) / "model.pt"
        expected = reference.forward(file, list(arrays.values()))
        self.assertEqual(len(answer.outputs), len(expected))
        for output, wanted in zip(answer.outputs, expected, strict=True):
            found = numpy.asarray(output.as_numpy())
            self.assertEqual(found.shape, wanted.shape)
            self.assertEqual(reference.laid_out(found), reference.laid_out(wanted))

    @calls("is_server_live", "is_server_ready", "is_model_ready")
    def test_live_and_ready(self):
        self.assertTrue(self.ask("is_server_live"))
        self.assertTrue(self.ask("is_server_ready"))
        self.assertTrue(self.ask("is_model_ready", "digits"))

    def test_what_is_unknown_is_not_ready(self):
        self.assertFalse(self.ask("is_model_ready", "nothing"))

    @calls("infer", "infer: binary_data=False")
    def test_digits_are_recognised_as_libtorch_does(self):
        images, _ = held_out_digits(32)
        for binary in (True, False):
            with self.subTest(binary=binary):
                request = InferRequest("digits", [self.tensor("image", images, binary_data=binary)], request_id="sdk")
                answer = self.infer(request)
                self.assertEqual((answer.model_name, answer.id), ("digits", "sdk"))
                self.assert_as_libtorch("digits", {"image": images}, answer, version=2)

    @calls("infer: datatypes")
    def test_datatypes_in_both_forms(self):
        for kind, binary in itertools.product(ECHOED, (True, False)):
            with self.subTest(kind=kind, binary=binary):
                given = GIVEN.get(kind, sample(kind))
                tensor = self.tensor("x", given, binary_data=binary)
                (output,) = self.infer(InferRequest(f"echo_{kind}", [tensor])).outputs
                found = numpy.asarray(output.as_numpy())
                if kind == "BYTES":
                    found = numpy.vectorize(encoded, otypes=[numpy.object_])(found)
                numpy.testing.assert_array_equal(found, given)

    def test_an_error_is_raised_with_what_was_expected(self):
        image = InferInput("image", [1, 3], "FP32", data=[0.0, 0.0, 0.0])
        with self.assertRaisesRegex(Exception, r"expected FP32 \[-1,1,8,8\]"):
            self.infer(InferRequest("digits", [image]))


class Rest(Checks):
    package = version("kserve")
    flavour = "rest"

    def connect(self):
        return Blocking(lambda: InferenceRESTClient(RESTConfig(protocol="v2")))

    def ask(self, call, *arguments):
        return getattr(self.sdk, call)(f"http://{self.address()}", *arguments)

    def infer(self, request):
        return self.ask("infer", request, request.model_name)


class Grpc(Checks):
    package = version("kserve")
    flavour = "grpc"

    def connect(self):
        return Blocking(lambda: InferenceGRPCClient(self.address()))

    def ask(self, call, *arguments):
        return getattr(self.sdk, call)(*arguments)

    def infer(self, request):
        return self.ask("infer", request)


class RestWorker(Rest, Worker, unittest.TestCase):
    pass


class RestGateway(Rest, Gateway, unittest.TestCase):
    pass


class GrpcWorker(Grpc, Worker, unittest.TestCase):
    pass


class GrpcGateway(Grpc, Gateway, unittest.TestCase):
    pass


class Surface(unittest.TestCase):
    """Every public call of the clients is checked."""

    def test_every_call(self):
        for checks, kind in ((RestWorker, InferenceRESTClient), (GrpcGateway, InferenceGRPCClient)):
            self.assertEqual(proven(checks), public(kind) - LOCAL)


def encoded(text):
    """A text as bytes, whichever of the two the SDK gave."""
    return text.encode() if isinstance(text, str) else text
