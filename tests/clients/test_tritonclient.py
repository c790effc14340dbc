"""The unmodified Triton HTTP client, straight at a worker and through a gateway."""

import itertools
import unittest

import numpy
import tritonclient.http as triton
from fleet import Fleet, held_out_digits
from tritonclient.utils import InferenceServerException

# Both rounds of JSON and binary compute the same; only the text form of a float may differ in its last digit.
TOLERANCE = 1e-6
# Of 32 held-out images version 1 gets at most one wrong (its accuracy over all 450 is 0.993).
MOST_WRONG = 1


def setUpModule():
    global fleet
    fleet = Fleet()
    unittest.addModuleCleanup(fleet.close)


def tensor(name, array, binary=True):
    kinds = {"float32": "FP32", "int64": "INT64", "int32": "INT32"}
    made = triton.InferInput(name, list(array.shape), kinds[str(array.dtype)])
    made.set_data_from_numpy(array, binary_data=binary)
    return made


class Checks:
    """Run once for each address."""

    server = None

    def setUp(self):
        self.client = triton.InferenceServerClient(self.address())
        self.addCleanup(self.client.close)

    def test_live_and_ready(self):
        self.assertTrue(self.client.is_server_live())
        self.assertTrue(self.client.is_server_ready())
        self.assertTrue(self.client.is_model_ready("digits"))
        self.assertTrue(self.client.is_model_ready("digits", "1"))
        self.assertFalse(self.client.is_model_ready("digits", "99"))
        self.assertFalse(self.client.is_model_ready("nothing"))

    def test_server_metadata(self):
        metadata = self.client.get_server_metadata()
        self.assertEqual(metadata["name"], self.server)
        self.assertIn("binary_tensor_data", metadata["extensions"])

    def test_model_metadata(self):
        metadata = self.client.get_model_metadata("digits")
        self.assertEqual(metadata["name"], "digits")
        self.assertEqual(sorted(metadata["versions"]), ["1", "2"])
        self.assertEqual(metadata["inputs"], [{"name": "image", "datatype": "FP32", "shape": [-1, 1, 8, 8]}])
        self.assertEqual(metadata["outputs"], [{"name": "scores", "datatype": "FP32", "shape": [-1, 10]}])

    def test_digits_are_recognised_in_all_four_encodings(self):
        images, digits = held_out_digits(32)
        answers = []
        for binary_in, binary_out in itertools.product((True, False), repeat=2):
            outputs = [triton.InferRequestedOutput("scores", binary_data=binary_out)]
            result = self.client.infer("digits", [tensor("image", images, binary_in)], outputs=outputs)
            described = result.get_output("scores")
            self.assertEqual("data" in described, not binary_out, "the answer is in the encoding asked for")
            answers.append(result.as_numpy("scores"))
        wrong = (answers[0].argmax(axis=1) != digits).sum()
        self.assertLessEqual(wrong, MOST_WRONG)
        for other in answers[1:]:
            numpy.testing.assert_allclose(other, answers[0], atol=TOLERANCE)

    def test_outputs_need_not_be_named(self):
        images, _ = held_out_digits(1)
        result = self.client.infer("digits", [tensor("image", images)])
        self.assertEqual(result.as_numpy("scores").shape, (1, 10))

    def test_an_explicit_version_answers(self):
        images, _ = held_out_digits(8)
        image = [tensor("image", images)]
        scores = {}
        for version in ("1", "2"):
            result = self.client.infer("digits", image, model_version=version)
            self.assertEqual(result.get_response()["model_version"], version)
            scores[version] = result.as_numpy("scores")
        self.assertGreater(numpy.abs(scores["1"] - scores["2"]).max(), TOLERANCE, "two different models")
        newest = self.client.infer("digits", image)
        self.assertEqual(newest.get_response()["model_version"], "2")

    def test_several_inputs_and_outputs(self):
        a = numpy.arange(8, dtype=numpy.float32).reshape(2, 4)
        inputs = [tensor("a", a), tensor("b", numpy.ones((2, 2), dtype=numpy.int64), binary=False)]
        outputs = [triton.InferRequestedOutput("zeros", binary_data=False), triton.InferRequestedOutput("echo")]
        result = self.client.infer("pair", inputs, outputs=outputs, request_id="two")
        self.assertEqual(result.get_response()["id"], "two")
        numpy.testing.assert_array_equal(result.as_numpy("echo"), a)
        numpy.testing.assert_array_equal(result.as_numpy("zeros"), numpy.zeros((2, 3), dtype=numpy.int64))

    def test_one_of_several_outputs_can_be_asked_for(self):
        inputs = [
            tensor("a", numpy.zeros((1, 4), dtype=numpy.float32)),
            tensor("b", numpy.zeros((1, 2), dtype=numpy.int64)),
        ]
        result = self.client.infer("pair", inputs, outputs=[triton.InferRequestedOutput("zeros")])
        self.assertEqual([output["name"] for output in result.get_response()["outputs"]], ["zeros"])

    def test_requests_in_parallel(self):
        images, digits = held_out_digits(32)
        client = triton.InferenceServerClient(self.address(), concurrency=8)
        self.addCleanup(client.close)
        pending = [client.async_infer("digits", [tensor("image", image[None])]) for image in images]
        found = numpy.array([answer.get_result().as_numpy("scores").argmax() for answer in pending])
        self.assertLessEqual((found != digits).sum(), MOST_WRONG)

    def test_errors_are_raised_with_what_was_expected(self):
        image = numpy.zeros((1, 1, 8, 8), dtype=numpy.float32)
        cases = [
            ("404", "nothing", "nothing", {}, [tensor("image", image)]),
            ("404", "99", "digits", {"model_version": "99"}, [tensor("image", image)]),
            ("400", "[-1,1,8,8]", "digits", {}, [tensor("image", image.reshape(1, 1, 4, 16))]),
            ("400", "FP32", "digits", {}, [tensor("image", image.astype(numpy.int64))]),
            ("400", "image", "digits", {}, [tensor("picture", image)]),
            ("400", "b", "pair", {}, [tensor("a", numpy.zeros((1, 4), dtype=numpy.float32))]),
        ]
        for status, expected, model, options, inputs in cases:
            with self.subTest(expected=expected, model=model):
                with self.assertRaises(InferenceServerException) as raised:
                    self.client.infer(model, inputs, **options)
                self.assertEqual(raised.exception.status(), status)
                self.assertIn(expected, raised.exception.message())

    def test_a_connection_survives_an_error(self):
        bad = tensor("image", numpy.zeros((1, 3), dtype=numpy.float32))
        with self.assertRaises(InferenceServerException):
            self.client.infer("digits", [bad])
        images, _ = held_out_digits(1)
        self.assertEqual(self.client.infer("digits", [tensor("image", images)]).as_numpy("scores").shape, (1, 10))


class Worker(Checks, unittest.TestCase):
    server = "weir-worker"

    def address(self):
        return fleet.worker


class Gateway(Checks, unittest.TestCase):
    server = "weir"

    def address(self):
        return fleet.gateway
