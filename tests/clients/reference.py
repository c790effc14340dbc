"""What libtorch itself computes: the program worker/examples/forward.rs, which has nothing of Weir in it.

`cargo xtask test clients` builds it into the folder `examples` of WEIR_BIN_DIR.
"""

import functools
import os
import pathlib
import struct
import subprocess
import tempfile

import ml_dtypes
import numpy

DTYPES = {
    "BOOL": numpy.bool_,
    "UINT8": numpy.uint8,
    "UINT16": numpy.uint16,
    "UINT32": numpy.uint32,
    "UINT64": numpy.uint64,
    "INT8": numpy.int8,
    "INT16": numpy.int16,
    "INT32": numpy.int32,
    "INT64": numpy.int64,
    "FP16": numpy.float16,
    "BF16": ml_dtypes.bfloat16,
    "FP32": numpy.float32,
    "FP64": numpy.float64,
}


def datatype(array):
    """The protocol's name of an array's type."""
    if array.dtype == numpy.object_:
        return "BYTES"
    return next(name for name, dtype in DTYPES.items() if array.dtype == dtype)


def laid_out(array):
    """An array's elements as the binary tensor extension has them."""
    if array.dtype != numpy.object_:
        return array.tobytes()
    return b"".join(struct.pack("<I", len(text)) + text for text in array.flatten())


def forward(model, arrays):
    """The outputs of a TorchScript file for these inputs, in order."""
    given = tuple((datatype(array), array.shape, laid_out(array)) for array in arrays)
    return [array.copy() for array in _forward(pathlib.Path(model), given)]


@functools.cache
def _forward(model, given):
    program = pathlib.Path(os.environ["WEIR_BIN_DIR"]) / "examples/forward"
    with tempfile.TemporaryDirectory() as folder:
        arguments = []
        for index, (kind, shape, data) in enumerate(given):
            file = pathlib.Path(folder) / f"in-{index}"
            file.write_bytes(data)
            arguments.append(f"{kind}:{','.join(map(str, shape))}:{file}")
        run = subprocess.run([program, model, folder, *arguments], capture_output=True, text=True, check=False)
        if run.returncode != 0:
            raise RuntimeError(f"{program} failed:\n{run.stderr}")
        return [_read(*line.split()) for line in run.stdout.splitlines()]


def _read(kind, shape, file):
    data = pathlib.Path(file).read_bytes()
    shape = [int(dim) for dim in shape.split(",")]
    if kind != "BYTES":
        return numpy.frombuffer(data, DTYPES[kind]).reshape(shape)
    texts = []
    while data:
        (length,) = struct.unpack_from("<I", data)
        texts.append(data[4 : 4 + length])
        data = data[4 + length :]
    return numpy.array(texts, dtype=numpy.object_).reshape(shape)


def sample(kind):
    """Two rows of three elements that show each datatype's limits."""
    if kind == "BYTES":
        return numpy.array([[b"", b"\x00\xff", b"text"], [b"a", b"bc", b"\xc3\xa4"]], dtype=numpy.object_)
    if kind == "BOOL":
        return numpy.array([[True, False, True], [False, False, True]])
    dtype = DTYPES[kind]
    if numpy.issubdtype(dtype, numpy.integer):
        limits = numpy.iinfo(dtype)
        return numpy.array([[limits.min, limits.max, 0], [1, 2, 3]], dtype=dtype)
    limits = ml_dtypes.finfo(dtype)
    return numpy.array([[0.1, limits.max, limits.tiny], [-0.0, numpy.inf, numpy.nan]], dtype=dtype)
