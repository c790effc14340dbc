"""The models that the client checks serve, as a repository on disk.

`digits` is the sample model. Those with a TorchScript file compute something whose result is compared with libtorch
itself; the synthetic ones answer what they are given, for what libtorch lacks, or take their time.
"""

import pathlib
import zipfile

DIGITS = pathlib.Path(__file__).resolve().parents[2] / "worker/models/digits"

# Datatypes that libtorch computes with.
NUMBERS = ["BOOL", "UINT8", "INT8", "INT16", "INT32", "INT64", "FP16", "BF16", "FP32", "FP64"]
# Those that it lacks, or has in one form only.
ECHOED = ["UINT16", "UINT32", "UINT64", "BYTES", "FP32"]
NAMES = ["digits", "numbers", "words", "picture", "pair", "slow", "spare", "spread"]
NAMES += [f"echo_{kind}" for kind in ECHOED]
# What one forward pass of `slow` takes.
SLOW_SECONDS = 0.3


def write(folder):
    """Writes the repository."""
    sample(folder / "digits")
    torch(folder / "numbers", "max_batch_size = 8", *numbers())
    torch(folder / "words", "", *words())
    torch(folder / "picture", "max_batch_size = 4", *picture())
    echo = [("a", "FP32", "-1, 4", "echo", "-1, 4"), ("b", "INT64", "-1, 2", "zeros", "-1, 3")]
    synthetic(folder / "pair", "1ms", "max_batch_size = 8", echo)
    for kind in ECHOED:
        synthetic(folder / f"echo_{kind}", "0s", "max_batch_size = 8", [("x", kind, "-1, -1", "y", "-1, -1")])
    synthetic(folder / "slow", f"{SLOW_SECONDS}s", "max_batch_size = 1", [("x", "FP32", "-1, 1", "y", "-1, 1")])
    synthetic(folder / "spare", "0s", "max_batch_size = 1", [("x", "FP32", "-1, 1", "y", "-1, 1")])
    synthetic(folder / "spread", "1ms", "max_batch_size = 8", [("x", "FP32", "-1, 4", "y", "-1, 4")])


def sample(folder):
    """The sample model, with a label for its first version."""
    folder.mkdir(parents=True)
    for name in ("1", "2", "labels.txt"):
        (folder / name).symlink_to(DIGITS / name)
    contract = (DIGITS / "model.toml").read_text()
    (folder / "model.toml").write_text(f"version_labels = {{ stable = 1 }}\n{contract}")


def numbers():
    """Doubles each number and turns each truth around, one tensor a datatype."""
    names = [kind.lower() for kind in NUMBERS]
    arguments = ", ".join(f"{name}: Tensor" for name in names)
    results = [f"torch.{'logical_not(bool)' if name == 'bool' else f'add({name}, {name})'}" for name in names]
    source = f"def forward(self: __torch__.Model, {arguments}) -> Tuple[{', '.join('Tensor' for _ in names)}]:\n"
    source += f"    return ({', '.join(results)})\n"
    tensors = [(f"in_{kind}", kind, "-1, 3", f"out_{kind}", "-1, 3") for kind in NUMBERS]
    return tensors, source


def words():
    """Texts to upper case."""
    source = """def forward(self: __torch__.Model, words: List[str]) -> List[str]:
    upper = annotate(List[str], [])
    for _0 in range(torch.len(words)):
      _1 = torch.append(upper, torch.upper(words[_0]))
    return upper
"""
    return [("words", "BYTES", "-1", "upper", "-1")], source


def picture():
    """Three weights of a picture of any size."""
    source = """def forward(self: __torch__.Model, picture: Tensor) -> Tensor:
    _0 = torch.mean(torch.tanh(picture), [2, 3])
    return torch.softmax(_0, 1)
"""
    return [("picture", "FP32", "-1, 3, -1, -1", "weights", "-1, 3")], source


def torch(folder, settings, tensors, source):
    """A model of one version from TorchScript text."""
    (folder / "1").mkdir(parents=True)
    (folder / "model.toml").write_text(contract(settings, tensors))
    code = f"class Model(Module):\n  __parameters__ = []\n  __buffers__ = []\n  {source}"
    files = {
        # The pickled module: an empty object of the class.
        "data.pkl": b"\x80\x02c__torch__\nModel\nq\0)\x81}(ubq\x01.",
        "code/__torch__.py": code.encode(),
        "constants.pkl": b"\x80\x02).",
        "version": b"3\n",
        "byteorder": b"little",
    }
    with zipfile.ZipFile(folder / "1/model.pt", "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(f"model/{name}", content)


def synthetic(folder, base, settings, tensors):
    """A model of one version that echoes its first input and takes `base` for a pass."""
    (folder / "1").mkdir(parents=True)
    top = f'backend = "synthetic"\n{settings}'
    times = f'[synthetic]\nbase = "{base}"\nper_item = "0s"\n'
    (folder / "model.toml").write_text(contract(top, tensors) + times)


def contract(settings, tensors):
    """The text of model.toml; `tensors` are (input, datatype, shape, output, shape)."""
    lines = [settings]
    for table, name, shape in (("input", 0, 2), ("output", 3, 4)):
        for tensor in tensors:
            lines.append(f'[[{table}]]\nname = "{tensor[name]}"\ndatatype = "{tensor[1]}"\nshape = [{tensor[shape]}]')
    return "\n".join(lines) + "\n"
