"""The model `spread` as MLServer serves it: an echo that says who answered."""

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse, Parameters


class Spread(MLModel):
    async def load(self):
        return True

    async def predict(self, payload):
        (given,) = payload.inputs
        output = NumpyCodec.encode_output("y", NumpyCodec.decode_input(given))
        said = Parameters(maker="mlserver")
        return InferenceResponse(model_name=self.name, id=payload.id, outputs=[output], parameters=said)
