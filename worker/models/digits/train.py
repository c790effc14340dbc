#!/usr/bin/env python3
"""Makes the sample model: both TorchScript versions, labels, held-out images and an example request.

    python3 -m pip install torch==2.11.0 scikit-learn==1.9.1
    python3 worker/models/digits/train.py

The data is the UCI "Optical Recognition of Handwritten Digits" test set as scikit-learn ships it: 1,797 images of
8x8 pixels, each 0 to 16. A quarter (450 images, the same share of every digit) is held out and never trained on.
Seeds are fixed and one thread computes, so the same packages on the same kind of machine give the same files.

Written beside this script:
  1/model.pt    a convnet of 9,850 weights, as trained in a first go
  2/model.pt    one of 38,378 weights, trained for longer and on images shifted by up to one pixel
  labels.txt    one class name a line, in the order of the model's scores
  holdout.csv   a header line, then one held-out image a line: its digit, then its 64 pixels (0 to 16), row by row.
                The models take pixels / 16.
  example.json  an inference request with one held-out image
"""

import csv
import json
import pathlib
import zipfile

import numpy
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

FOLDER = pathlib.Path(__file__).resolve().parent
SEED = 7
HELD_OUT = 450
LABELS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
BRIGHTEST = 16.0
BATCH = 64
# The image of example.json: the first held-out one of this digit.
EXAMPLE_DIGIT = 7


class Net(nn.Module):
    """Two convolutions and two dense layers; answers one probability per digit."""

    def __init__(self, first: int, second: int, hidden: int, dropout: float):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, first, 3, padding=1),
            nn.BatchNorm2d(first),
            nn.ReLU(),
            nn.Conv2d(first, second, 3, padding=1),
            nn.BatchNorm2d(second),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(second * 16, hidden),
            nn.ReLU(),
            nn.Linear(hidden, len(LABELS)),
        )

    def logits(self, image: torch.Tensor) -> torch.Tensor:
        # flatten(1) and not view(): the number of rows is the worker's choice, batch by batch.
        return self.classifier(self.features(image).flatten(1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.logits(image).softmax(1)


def as_images(pixels: numpy.ndarray) -> torch.Tensor:
    """Rows of 64 pixels, 0 to 16, as the models take them."""
    return torch.tensor(pixels / BRIGHTEST, dtype=torch.float32).reshape(-1, 1, 8, 8)


def train(net: Net, images: torch.Tensor, digits: torch.Tensor, epochs: int, shift: int) -> Net:
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-2)
    steps = epochs * ((len(images) + BATCH - 1) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=1e-2, total_steps=steps)
    net.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(BATCH):
            batch = shifted(images[rows], shift)
            loss = nn.functional.cross_entropy(net.logits(batch), digits[rows], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return net.eval()


def shifted(images: torch.Tensor, most: int) -> torch.Tensor:
    """Each image moved by up to `most` pixels in each direction, dark where it came from."""
    if most == 0:
        return images
    side = images.shape[-1]
    padded = nn.functional.pad(images, (most, most, most, most))
    moves = torch.randint(0, 2 * most + 1, (len(images), 2)).tolist()
    return torch.stack([padded[i, :, y : y + side, x : x + side] for i, (y, x) in enumerate(moves)])


def export(net: Net, file: pathlib.Path) -> None:
    """Scripted, so that no batch size is baked in; frozen, so that batch norms fold into the convolutions."""
    file.parent.mkdir(exist_ok=True)
    torch.jit.save(torch.jit.freeze(torch.jit.script(net)), str(file))
    without_source_names(file)


def without_source_names(file: pathlib.Path) -> None:
    """Drops the archive's debug records: they name this machine's folders and no one reads them."""
    with zipfile.ZipFile(file) as archive:
        records = [(info.filename, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, data in records:
            if not name.endswith(".debug_pkl"):
                archive.writestr(zipfile.ZipInfo(name), data)


def accuracy(file: pathlib.Path, images: torch.Tensor, digits: torch.Tensor) -> float:
    """Of the exported file, in batches of 32 as the worker would run it."""
    model = torch.jit.load(str(file))
    with torch.no_grad():
        found = torch.cat([model(rows).argmax(1) for rows in images.split(32)])
    return (found == digits).float().mean().item()


def write_samples(held: numpy.ndarray, held_digits: numpy.ndarray) -> None:
    """labels.txt, holdout.csv and example.json."""
    (FOLDER / "labels.txt").write_text("\n".join(LABELS) + "\n")
    with open(FOLDER / "holdout.csv", "w", newline="") as out:
        rows = csv.writer(out, lineterminator="\n")
        rows.writerow(["digit"] + [f"pixel_{i}" for i in range(64)])
        rows.writerows([int(d)] + [int(p) for p in pixels] for d, pixels in zip(held_digits, held))
    example = held[list(held_digits).index(EXAMPLE_DIGIT)] / BRIGHTEST
    request = {"inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": list(example)}]}
    (FOLDER / "example.json").write_text(json.dumps(request) + "\n")


def main() -> None:
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    data = load_digits()
    seen, held, seen_digits, held_digits = train_test_split(
        data.data, data.target, test_size=HELD_OUT, stratify=data.target, random_state=SEED
    )
    images, digits = as_images(seen), torch.tensor(seen_digits)

    torch.manual_seed(SEED)
    export(train(Net(8, 16, 32, 0.0), images, digits, epochs=8, shift=0), FOLDER / "1/model.pt")
    torch.manual_seed(SEED)
    export(train(Net(16, 32, 64, 0.3), images, digits, epochs=60, shift=1), FOLDER / "2/model.pt")

    write_samples(held, held_digits)
    for version in (1, 2):
        file = FOLDER / f"{version}/model.pt"
        found = accuracy(file, as_images(held), torch.tensor(held_digits))
        print(f"version {version}: held-out accuracy {found:.4f}, {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
