"""The unmodified Triton client over gRPC: blocking, with callbacks, as a stream, and with asyncio."""

import queue
import unittest

import numpy
import tritonclient.grpc
import tritonclient.grpc.aio
from blocking import Blocking
from fleet import held_out_digits
from models import SLOW_SECONDS
from table import calls, proven, public, version
from triton import LOCAL, MOST_WRONG, ROW, STATUS, TOLERANCE, TOO_LITTLE_TIME, Checks, Gateway, Worker
from tritonclient.utils import InferenceServerException

# Longest wait for an answer that should come at once.
PATIENCE_SECONDS = 30
# More than one window of a stream.
MANY = 200


class Grpc(Checks):
    """What is gRPC's own."""

    library = tritonclient.grpc

    def status(self, reason):
        return STATUS[reason][1]

    def told(self, call, *arguments):
        return getattr(self.client, call)(*arguments, as_json=True)

    def response(self, result):
        return result.get_response(as_json=True)

    def config(self, *arguments):
        return self.told("get_model_config", *arguments)["config"]

    def index(self):
        return self.told("get_model_repository_index")["models"]

    def statistics(self, *arguments):
        (found,) = self.told("get_inference_statistics", *arguments)["model_stats"]
        return found

    @calls("infer: compression_algorithm=")
    def test_messages_are_compressed_as_asked(self):
        images, _ = held_out_digits(32)
        for coding in ("gzip", "deflate"):
            with self.subTest(coding=coding):
                outputs = self.ask("digits", {"image": images}, compression_algorithm=coding)
                self.assert_as_libtorch("digits", {"image": images}, outputs, version=2)

    @calls("infer: client_timeout=")
    def test_the_time_that_the_call_has(self):
        row = {"x": numpy.zeros((1, 1), dtype=numpy.float32)}
        self.refused(TOO_LITTLE_TIME, "slow", self.tensors(row), client_timeout=SLOW_SECONDS / 10)
        self.assert_same(self.ask("slow", row, client_timeout=SLOW_SECONDS * 100)["y"], row["x"])

    def assert_in_order(self, answers):
        """The results of `MANY` stream requests, each a pair of result and error."""
        self.assertEqual(len(answers), MANY)
        for number, (result, error) in enumerate(answers):
            self.assertIsNone(error)
            self.assertEqual(self.response(result)["id"], str(number))
            self.assert_same(result.as_numpy("y"), row(number)["x"])

    def assert_errors_between(self, answers):
        """The answers to `mistakes`: the second and the fourth are refused, the stream goes on."""
        good, shape, between, unknown, last = answers
        for result, error in (good, between, last):
            self.assertIsNone(error)
            self.assert_same(result.as_numpy("y"), ROW["x"])
        for (result, error), expected in ((shape, "expected FP32"), (unknown, "nothing")):
            self.assertIsNone(result)
            self.assertIsInstance(error, InferenceServerException)
            self.assertIn(expected, error.message())

    def mistakes(self):
        """Requests of a stream, with mistakes among them."""
        good = {"model_name": "echo_FP32", "inputs": self.tensors(ROW)}
        shape = good | {"inputs": self.tensors({"x": ROW["x"].reshape(4)})}
        output = good | {"outputs": [self.library.InferRequestedOutput("nothing")]}
        return [good, shape, good, output, good]


class Blocked(Grpc):
    package = version("tritonclient")
    flavour = "grpc"

    def connect(self, address):
        return tritonclient.grpc.InferenceServerClient(address)

    @calls("async_infer")
    def test_requests_in_parallel(self):
        images, digits = held_out_digits(32)
        answers = queue.SimpleQueue()
        for number, image in enumerate(images):
            tensors = self.tensors({"image": image[None]})
            answer = lambda result, error, number=number: answers.put((number, result, error))
            self.client.async_infer("digits", tensors, answer)
        found = sorted((answers.get(timeout=PATIENCE_SECONDS) for _ in images), key=lambda one: one[0])
        self.assertEqual([error for _, _, error in found if error], [])
        scores = numpy.concatenate([result.as_numpy("scores") for _, result, _ in found])
        self.assertLessEqual((scores.argmax(axis=1) != digits).sum(), MOST_WRONG)
        numpy.testing.assert_allclose(scores, self.ask("digits", {"image": images})["scores"], atol=TOLERANCE)

    @calls("async_infer: cancel()")
    def test_a_request_is_cancelled(self):
        answers = queue.SimpleQueue()
        row = {"x": numpy.zeros((1, 1), dtype=numpy.float32)}
        calling = self.client.async_infer("slow", self.tensors(row), lambda result, error: answers.put((result, error)))
        calling.cancel()
        result, error = answers.get(timeout=PATIENCE_SECONDS)
        self.assertIsNone(result)
        self.assertEqual(error.status(), "StatusCode.CANCELLED")
        self.assert_same(self.ask("slow", row)["y"], row["x"])

    def streamed(self, requests, answers, **options):
        """What comes back from a stream of requests until so many answers are there."""
        came = queue.SimpleQueue()
        self.client.start_stream(lambda result, error: came.put((result, error)), **options)
        try:
            for request in requests:
                self.client.async_stream_infer(**request)
            return [came.get(timeout=PATIENCE_SECONDS) for _ in range(answers)]
        finally:
            self.client.stop_stream()

    @calls("start_stream", "async_stream_infer", "stop_stream")
    def test_a_stream_is_answered_in_order(self):
        requests = [
            {"model_name": "echo_FP32", "inputs": self.tensors(row(number)), "request_id": str(number)}
            for number in range(MANY)
        ]
        self.assert_in_order(self.streamed(requests, MANY))

    def test_a_stream_goes_on_after_an_error(self):
        self.assert_errors_between(self.streamed(self.mistakes(), 5))

    @calls("start_stream: compression_algorithm=", "start_stream: headers=")
    def test_a_compressed_stream(self):
        request = {"model_name": "digits", "inputs": self.tensors({"image": held_out_digits(32)[0]})}
        options = {"compression_algorithm": "gzip", "headers": {"x-request-id": "stream"}}
        ((result, error),) = self.streamed([request], 1, **options)
        self.assertIsNone(error)
        self.assert_as_libtorch("digits", {"image": held_out_digits(32)[0]}, self.outputs(result), version=2)

    def ended(self, came):
        """What came of a stream up to the status by which it ended."""
        answers = [came.get(timeout=PATIENCE_SECONDS)]
        # An error of one request has no status.
        while answers[-1][1] is None or answers[-1][1].status() is None:
            answers.append(came.get(timeout=PATIENCE_SECONDS))
        return answers

    @calls("start_stream: stream_timeout=")
    def test_the_time_that_a_stream_has(self):
        came = queue.SimpleQueue()
        self.client.start_stream(lambda result, error: came.put((result, error)), SLOW_SECONDS / 3)
        self.client.async_stream_infer("slow", self.tensors({"x": numpy.zeros((1, 1), dtype=numpy.float32)}))
        *before, (_, error) = self.ended(came)
        self.client.stop_stream()
        self.assertEqual(error.status(), "StatusCode.DEADLINE_EXCEEDED")
        self.assertEqual([result for result, _ in before if result], [], "no result comes in time")

    @calls("async_stream_infer: enable_empty_final_response=")
    def test_a_final_response_is_sent_when_asked_for(self):
        request = {"model_name": "echo_FP32", "inputs": self.tensors(ROW), "request_id": "last"}
        answers = self.streamed([request | {"enable_empty_final_response": True}], 2)
        (first, first_error), (final, final_error) = answers
        self.assertIsNone(first_error or final_error)
        is_final = lambda result: result.get_response().parameters["triton_final_response"].bool_param
        self.assertEqual((is_final(first), is_final(final)), (False, True))
        self.assert_same(first.as_numpy("y"), ROW["x"])
        self.assertEqual((final.get_response().id, len(final.get_response().outputs)), ("last", 0))

    @calls("stop_stream: cancel_requests=")
    def test_a_stream_is_cancelled(self):
        came = queue.SimpleQueue()
        slow = self.tensors({"x": numpy.zeros((1, 1), dtype=numpy.float32)})
        self.client.start_stream(lambda result, error: came.put((result, error)))
        for _ in range(3):
            self.client.async_stream_infer("slow", slow)
        self.client.stop_stream(cancel_requests=True)
        answers = self.ended(came)
        self.assertEqual(answers[-1][1].status(), "StatusCode.CANCELLED")
        self.assertLess(len(answers), 4)


class Aio(Grpc):
    package = version("tritonclient")
    flavour = "grpc.aio"

    def connect(self, address):
        return Blocking(lambda: tritonclient.grpc.aio.InferenceServerClient(address))

    @calls("infer: several at once")
    def test_requests_in_parallel(self):
        images, digits = held_out_digits(32)
        requests = [("digits", self.tensors({"image": image[None]})) for image in images]
        results = self.client.together("infer", requests)
        scores = numpy.concatenate([result.as_numpy("scores") for result in results])
        self.assertLessEqual((scores.argmax(axis=1) != digits).sum(), MOST_WRONG)
        numpy.testing.assert_allclose(scores, self.ask("digits", {"image": images})["scores"], atol=TOLERANCE)

    def streamed(self, requests, **options):
        """What comes back from a stream of requests until the server ends it."""

        async def sent():
            for request in requests:
                yield request

        async def collected():
            answers = self.client.client.stream_infer(sent(), **options)
            return [answer async for answer in answers]

        return self.client.wait(collected())

    @calls("stream_infer")
    def test_a_stream_is_answered_in_order(self):
        self.assert_in_order(
            self.streamed(
                {"model_name": "echo_FP32", "inputs": self.tensors(row(number)), "request_id": str(number)}
                for number in range(MANY)
            )
        )

    def test_a_stream_goes_on_after_an_error(self):
        self.assert_errors_between(self.streamed(self.mistakes()))

    @calls("stream_infer: compression_algorithm=")
    def test_a_compressed_stream(self):
        images, _ = held_out_digits(32)
        request = {"model_name": "digits", "inputs": self.tensors({"image": images})}
        ((result, error),) = self.streamed([request], compression_algorithm="deflate")
        self.assertIsNone(error)
        self.assert_as_libtorch("digits", {"image": images}, self.outputs(result), version=2)


def row(number):
    """The input of one of many requests: four numbers that tell it apart."""
    return {"x": numpy.array([[number, number / 8, -number, 0.5]], dtype=numpy.float32)}


class GrpcWorker(Blocked, Worker, unittest.TestCase):
    pass


class GrpcGateway(Blocked, Gateway, unittest.TestCase):
    pass


class AioWorker(Aio, Worker, unittest.TestCase):
    pass


class AioGateway(Aio, Gateway, unittest.TestCase):
    pass


class Surface(unittest.TestCase):
    """Every public call of the clients is checked."""

    def test_grpc(self):
        for checks in (GrpcWorker, GrpcGateway):
            self.assertEqual(proven(checks), public(tritonclient.grpc.InferenceServerClient) - LOCAL)

    def test_aio(self):
        for checks in (AioWorker, AioGateway):
            self.assertEqual(proven(checks), public(tritonclient.grpc.aio.InferenceServerClient) - LOCAL)
