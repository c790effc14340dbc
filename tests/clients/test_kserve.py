"""The unmodified KServe SDK's inference client, straight at a worker and through a gateway."""

import unittest

import numpy
from fleet import Fleet, held_out_digits

try:
    from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
except ModuleNotFoundError as error:
    # The SDK is not offered for every Python that the other client is.
    raise unittest.SkipTest(f"the KServe SDK is not installed: {error}") from error

# Of 32 held-out images version 2 gets at most one wrong (its accuracy over all 450 is 0.998).
MOST_WRONG = 1


def setUpModule():
    global fleet
    fleet = Fleet()
    unittest.addModuleCleanup(fleet.close)


class Checks:
    """Run once for each address."""

    async def asyncSetUp(self):
        self.client = InferenceRESTClient(RESTConfig(protocol="v2"))
        self.addAsyncCleanup(self.client.close)

    async def test_live_and_ready(self):
        self.assertTrue(await self.client.is_server_live(self.url()))
        self.assertTrue(await self.client.is_server_ready(self.url()))
        self.assertTrue(await self.client.is_model_ready(self.url(), "digits"))

    async def test_digits_are_recognised_in_both_encodings(self):
        images, digits = held_out_digits(32)
        for binary in (True, False):
            with self.subTest(binary=binary):
                image = InferInput("image", list(images.shape), "FP32")
                image.set_data_from_numpy(images, binary_data=binary)
                request = InferRequest("digits", [image], request_id="sdk")
                answer = await self.client.infer(self.url(), request, model_name="digits")
                self.assertEqual((answer.model_name, answer.id), ("digits", "sdk"))
                found = numpy.asarray(answer.outputs[0].as_numpy()).argmax(axis=1)
                self.assertLessEqual((found != digits).sum(), MOST_WRONG)

    async def test_an_error_is_raised_with_what_was_expected(self):
        image = InferInput("image", [1, 3], "FP32", data=[0.0, 0.0, 0.0])
        with self.assertRaisesRegex(Exception, r"expected FP32 \[-1,1,8,8\].*400"):
            await self.client.infer(self.url(), InferRequest("digits", [image]), model_name="digits")


class Worker(Checks, unittest.IsolatedAsyncioTestCase):
    def url(self):
        return f"http://{fleet.worker}"


class Gateway(Checks, unittest.IsolatedAsyncioTestCase):
    def url(self):
        return f"http://{fleet.gateway}"
