"""The unmodified Triton client over REST, blocking and with asyncio."""

import gzip
import itertools
import unittest
import urllib.request

import numpy
import tritonclient.http
import tritonclient.http.aio
from blocking import Blocking
from fleet import held_out_digits
from table import calls, proven, public, version
from triton import LOCAL, MOST_WRONG, ROW, STATUS, TOLERANCE, Checks, Gateway, Worker

HEADER_LENGTH = "Inference-Header-Content-Length"


class Rest(Checks):
    """What is REST's own."""

    library = tritonclient.http

    def status(self, reason):
        return STATUS[reason][0]

    def told(self, call, *arguments):
        return getattr(self.client, call)(*arguments)

    def response(self, result):
        return result.get_response()

    def config(self, *arguments):
        return self.client.get_model_config(*arguments)

    def index(self):
        return self.client.get_model_repository_index()

    def statistics(self, *arguments):
        (found,) = self.client.get_inference_statistics(*arguments)["model_stats"]
        return found

    @calls("infer: binary_data=")
    def test_all_four_encodings_say_the_same(self):
        images, _ = held_out_digits(8)
        for binary_in, binary_out in itertools.product((True, False), repeat=2):
            inputs = [self.tensor("image", images, binary_data=binary_in)]
            outputs = [self.library.InferRequestedOutput("scores", binary_data=binary_out)]
            result = self.client.infer("digits", inputs, outputs=outputs)
            self.assertEqual("data" in result.get_output("scores"), not binary_out, "in the encoding asked for")
            self.assert_as_libtorch("digits", {"image": images}, self.outputs(result), version=2)

    @calls("infer: NaN and infinities as JSON")
    def test_not_every_number_is_finite(self):
        row = {"x": numpy.array([[numpy.nan, numpy.inf, -numpy.inf, 0.1]], dtype=numpy.float32)}
        outputs = [self.library.InferRequestedOutput("y", binary_data=False)]
        result = self.client.infer("echo_FP32", self.tensors(row, binary_data=False), outputs=outputs)
        numpy.testing.assert_array_equal(result.as_numpy("y"), row["x"])

    @calls("infer: BYTES as JSON")
    def test_texts_as_json(self):
        texts = {"words": numpy.array([b"weir", b"", 'straße\n"'.encode()], dtype=numpy.object_)}
        outputs = [self.library.InferRequestedOutput("upper", binary_data=False)]
        result = self.client.infer("words", self.tensors(texts, binary_data=False), outputs=outputs)
        found = numpy.array([text.encode() for text in result.as_numpy("upper")], dtype=numpy.object_)
        self.assert_as_libtorch("words", texts, {"upper": found})

    @calls("infer: request_compression_algorithm=", "infer: response_compression_algorithm=")
    def test_bodies_are_compressed_as_asked(self):
        images, _ = held_out_digits(32)
        for coming, going in itertools.product((None, "gzip", "deflate"), repeat=2):
            with self.subTest(request=coming, response=going):
                coding = {"request_compression_algorithm": coming, "response_compression_algorithm": going}
                self.assert_as_libtorch("digits", {"image": images}, self.ask("digits", {"image": images}, **coding), 2)

    @calls("infer: query_params=")
    def test_a_query_is_ignored(self):
        self.assert_same(self.ask("echo_FP32", ROW, query_params={"a": "b"})["y"], ROW["x"])

    @calls("generate_request_body", "parse_response_body")
    def test_a_body_made_here_and_sent_by_something_else(self):
        images, _ = held_out_digits(2)
        kind = type(self.client.client) if isinstance(self.client, Blocking) else type(self.client)
        body, json_length = kind.generate_request_body(self.tensors({"image": images}))
        for coding, sent in ((None, body), ("gzip", gzip.compress(body))):
            request = urllib.request.Request(f"http://{self.address()}/v2/models/digits/infer", sent)
            request.add_header(HEADER_LENGTH, str(json_length))
            if coding is not None:
                request.add_header("Content-Encoding", coding)
            with urllib.request.urlopen(request) as answer:
                length = int(answer.headers[HEADER_LENGTH])
                result = kind.parse_response_body(answer.read(), header_length=length)
            self.assert_as_libtorch("digits", {"image": images}, self.outputs(result), version=2)


class Http(Rest):
    package = version("tritonclient")
    flavour = "http"

    def connect(self, address):
        return tritonclient.http.InferenceServerClient(address, concurrency=8)

    @calls("async_infer")
    def test_requests_in_parallel(self):
        images, digits = held_out_digits(32)
        pending = [self.client.async_infer("digits", self.tensors({"image": image[None]})) for image in images]
        scores = numpy.concatenate([request.get_result().as_numpy("scores") for request in pending])
        self.assertLessEqual((scores.argmax(axis=1) != digits).sum(), MOST_WRONG)
        numpy.testing.assert_allclose(scores, self.ask("digits", {"image": images})["scores"], atol=TOLERANCE)


class Aio(Rest):
    package = version("tritonclient")
    flavour = "http.aio"

    def connect(self, address):
        return Blocking(lambda: tritonclient.http.aio.InferenceServerClient(address))

    @calls("infer: several at once")
    def test_requests_in_parallel(self):
        images, digits = held_out_digits(32)
        requests = [("digits", self.tensors({"image": image[None]})) for image in images]
        results = self.client.together("infer", requests)
        scores = numpy.concatenate([result.as_numpy("scores") for result in results])
        self.assertLessEqual((scores.argmax(axis=1) != digits).sum(), MOST_WRONG)
        numpy.testing.assert_allclose(scores, self.ask("digits", {"image": images})["scores"], atol=TOLERANCE)


class HttpWorker(Http, Worker, unittest.TestCase):
    pass


class HttpGateway(Http, Gateway, unittest.TestCase):
    pass


class AioWorker(Aio, Worker, unittest.TestCase):
    pass


class AioGateway(Aio, Gateway, unittest.TestCase):
    pass


class Surface(unittest.TestCase):
    """Every public call of the clients is checked."""

    def test_http(self):
        for checks in (HttpWorker, HttpGateway):
            self.assertEqual(proven(checks), public(tritonclient.http.InferenceServerClient) - LOCAL)

    def test_aio(self):
        for checks in (AioWorker, AioGateway):
            self.assertEqual(proven(checks), public(tritonclient.http.aio.InferenceServerClient) - LOCAL)
