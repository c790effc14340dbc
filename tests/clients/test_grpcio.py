"""gRPC's own services through its own packages: health checking and reflection."""

import unittest

import grpc
import tritonclient.grpc
from fleet import shared
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from sides import Gateway, Worker
from table import calls, version

SERVICE = "inference.GRPCInferenceService"
METHODS = [
    "ModelConfig",
    "ModelInfer",
    "ModelMetadata",
    "ModelReady",
    "ModelStatistics",
    "ModelStreamInfer",
    "RepositoryIndex",
    "RepositoryModelLoad",
    "RepositoryModelUnload",
    "ServerLive",
    "ServerMetadata",
    "ServerReady",
]
PATIENCE_SECONDS = 30
SERVING = health_pb2.HealthCheckResponse.SERVING


class Channel:
    def setUp(self):
        self.channel = grpc.insecure_channel(self.address())
        self.addCleanup(self.channel.close)


class Health(Channel):
    package = version("grpcio-health-checking")

    def setUp(self):
        super().setUp()
        self.stub = health_pb2_grpc.HealthStub(self.channel)

    @calls("Check")
    def test_server_and_models_are_serving(self):
        for service in ("", "digits"):
            answer = self.stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE_SECONDS)
            self.assertEqual(answer.status, SERVING, service)
        with self.assertRaises(grpc.RpcError) as raised:
            self.stub.Check(health_pb2.HealthCheckRequest(service="nothing"), timeout=PATIENCE_SECONDS)
        self.assertEqual(raised.exception.code(), grpc.StatusCode.NOT_FOUND)

    @calls("Watch")
    def test_the_first_word_of_a_watch(self):
        unknown = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        for service, expected in (("", SERVING), ("digits", SERVING), ("nothing", unknown)):
            watch = self.stub.Watch(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE_SECONDS)
            self.assertEqual(next(watch).status, expected, service)
            watch.cancel()


class Reflection(Channel):
    package = version("grpcio-reflection")

    def setUp(self):
        super().setUp()
        self.database = ProtoReflectionDescriptorDatabase(self.channel)

    @calls("get_services")
    def test_services_are_listed(self):
        self.assertLessEqual({SERVICE, "grpc.health.v1.Health"}, set(self.database.get_services()))

    @calls("FindFileContainingSymbol", "FindFileByName")
    def test_the_service_is_described(self):
        service = DescriptorPool(self.database).FindServiceByName(SERVICE)
        self.assertEqual(sorted(method.name for method in service.methods), METHODS)
        file = self.database.FindFileContainingSymbol(SERVICE)
        self.assertEqual(self.database.FindFileByName(file.name), file)


class HealthWorker(Health, Worker, unittest.TestCase):
    pass


class HealthGateway(Health, Gateway, unittest.TestCase):
    pass


class ReflectionWorker(Reflection, Worker, unittest.TestCase):
    pass


class ReflectionGateway(Reflection, Gateway, unittest.TestCase):
    pass


class Watching(unittest.TestCase):
    """A watch follows what happens to a model."""

    def test_a_model_that_goes_is_no_longer_serving(self):
        address = shared().workers[0]
        control = tritonclient.grpc.InferenceServerClient(address)
        self.addCleanup(control.close)
        self.addCleanup(control.load_model, "spare")
        with grpc.insecure_channel(address) as channel:
            request = health_pb2.HealthCheckRequest(service="spare")
            watch = health_pb2_grpc.HealthStub(channel).Watch(request, timeout=PATIENCE_SECONDS)
            self.assertEqual(next(watch).status, SERVING)
            control.unload_model("spare")
            self.assertEqual(next(watch).status, health_pb2.HealthCheckResponse.NOT_SERVING)
            control.load_model("spare")
            self.assertEqual(next(watch).status, SERVING)
            watch.cancel()
