"""The whole adaptation beside the published procedure, in one run: `python -m benchmarks.adapt_speed`.

The model has the size of CLIP's ViT-B/16 and random weights, which cost what trained ones do; pictures are random too.
The published procedure runs at every step the adapted and the frozen model, both towers whole, on new pixels and on
prompts of 77 tokens, and keeps nothing. Its step is measured on `--published-steps` of them, after one to warm up, and
its time scaled to all. Ours is measured whole, once with an empty cache and once as the next run on the same pictures.

Beside that: the peak of memory at 10, 100 and 1,000 classes, each in a process of its own, and what predicting costs
against the frozen model. `--tiny` shows in a minute that it runs.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.table import machine
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import CLIPConfig, CLIPModel
from transformers.utils import logging

from overtone.data import ImageSet, Record
from overtone.farl import Adapter, FarlConfig, FarlModel, ImageStates, TextStates, Views, first_layer
from overtone.farl.fitting import VIEWS, Rows
from overtone.farl.states import mean_over_templates
from overtone.farl.views import Pixels
from overtone.models.backbone import Backbone
from overtone.models.clip import ClipImageTower, ClipTextTower
from overtone.spectral import amplitude_only, phase_only
from overtone.training import TrainingConfig, train

TEMPLATE = "a photo of a {}."
BOS, EOT = 49406, 49407


@dataclass(frozen=True)
class Size:
    """How large the model and the task are."""

    image: dict[str, int]
    text: dict[str, int]
    features: int
    shots: int = 16
    classes: int = 10

    @property
    def pictures(self) -> int:
        """How many are learned from."""
        return self.shots * self.classes


WORDS = {"vocab_size": 49408, "bos_token_id": BOS, "eos_token_id": EOT}
WHOLE = Size(
    {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    | {"image_size": 224, "patch_size": 16},
    {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 8}
    | {"max_position_embeddings": 77, **WORDS},
    512,
)
TINY = Size(
    {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4}
    | {"image_size": 32, "patch_size": 8},
    {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4}
    | {"max_position_embeddings": 77, **WORDS},
    24,
    shots=2,
    classes=3,
)


def tokenize(texts: Sequence[str], length: int = 77) -> Tensor:
    """Return BOS, an id a word, EOT to the end: as long as CLIP's, with a few ids that stand for a vocabulary."""
    rows = torch.full((len(texts), length), EOT)
    for row, text in zip(rows, texts, strict=True):
        ids = [BOS, *(1 + sum(word.encode()) * 31 % 40_000 for word in text.replace(".", " .").split())][: length - 1]
        row[: len(ids)] = torch.tensor(ids)
    return rows


def build(size: Size) -> Backbone:
    """Return a CLIP of this size with random weights."""
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(text_config=size.text, vision_config=size.image, projection_dim=size.features))
    side = size.image["image_size"]

    def pixels(image: Image.Image) -> Tensor:
        array = np.asarray(image.resize((side, side)), dtype=np.float32) / 255
        return torch.from_numpy(array).permute(2, 0, 1).contiguous()

    towers = ClipImageTower(model.eval()), ClipTextTower(model)
    return Backbone("random", *towers, tokenize, pixels, side, (0.5,) * 3, (0.25,) * 3)


def pictures(size: Size, count: int, classes: int) -> ImageSet:
    """Return random pictures, of the first classes where there are more classes than pictures."""
    rng = np.random.default_rng(0)
    side = size.image["image_size"]
    records = [
        Record(str(i), i % classes, encoded=rng.integers(0, 255, (side, side, 3), dtype=np.uint8)) for i in range(count)
    ]
    return ImageSet(tuple(records), tuple(f"kind {i}" for i in range(classes)))


class Published(nn.Module):
    """The published procedure: everything is run at every step, whole."""

    def __init__(self, model: FarlModel, classes: Sequence[str], templates: Sequence[str], device: str) -> None:
        super().__init__()
        self.model = model
        self.ids = model.backbone.tokenize([t.format(name) for name in classes for t in templates]).to(device)
        self.templates = len(templates)
        model.backbone.image.pools_leading = False  # the last block gives all tokens, read or not

    def forward(self, pixels: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the loss of a batch of views."""
        return self.model(self.images(pixels), self.texts(), labels)

    @torch.no_grad()
    def images(self, pixels: Tensor) -> ImageStates:
        """Run the frozen model whole, and the adapted one and the streams up to where tokens enter."""
        backbone = self.model.backbone
        frozen = normalize(backbone.image(backbone.normalize(pixels)), dim=-1)
        views = [pixels, *((phase_only(pixels), amplitude_only(pixels)) if self.model.uses_streams else ())]
        tokens, *streams = (self._lower(backbone.image, backbone.normalize(view))[0] for view in views)
        return ImageStates(tokens, frozen, *streams)

    @torch.no_grad()
    def texts(self) -> TextStates:
        """Run the frozen model whole, and the adapted one up to where tokens enter, at full length."""
        w = normalize(self.model.backbone.text(self.ids), dim=-1)
        bucket = self._lower(self.model.backbone.text, self.ids)
        order = torch.arange(len(self.ids), device=self.ids.device)
        return TextStates((bucket,), order, mean_over_templates(w, self.templates), self.templates)

    def _lower(self, tower: Any, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        tokens, mask = tower.embed(inputs)
        return tower.blocks(tokens, mask, 0, first_layer(tower.depth)), mask


def published(
    images: ImageSet, backbone: Backbone, method: FarlConfig, training: TrainingConfig, templates: Sequence[str]
) -> FarlModel:
    """Adapt as published, with the draws that `Adapter.fit` makes under the same seed."""
    backbone.to(training.device)
    with torch.random.fork_rng():
        torch.manual_seed(training.seed)
        model = FarlModel(backbone, method).to(training.device)
    views, labels = Views(Pixels(images.records, backbone.pixels), training.seed), torch.tensor(images.labels)

    def collate(rows: list[int]) -> dict[str, Any]:
        return {"pixels": views.batch(rows, torch.randint(VIEWS, (len(rows),)).tolist()), "labels": labels[rows]}

    objective = Published(model, images.classes, templates, training.device)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            train(objective, Rows(len(labels)), collate, training, Path(scratch), resume=False)
    finally:
        backbone.image.pools_leading = True
    return model.eval()


def seconds_published(size: Size, method: FarlConfig, training: TrainingConfig, steps: int) -> float:
    """Return the time of a step of the published procedure, the mean of `steps` after the first."""
    backbone, batch = build(size), training.batch_size
    took = []
    for count in (1, 1 + steps):  # the difference leaves out what is done once
        images = pictures(size, count * batch, size.classes)
        start = time.perf_counter()
        published(images, backbone, method, replace(training, epochs=1), (TEMPLATE,))
        took.append(time.perf_counter() - start)
    return (took[1] - took[0]) / steps


def seconds_ours(size: Size, method: FarlConfig, training: TrainingConfig) -> list[float]:
    """Return the time of a whole adaptation, with an empty cache and again."""
    backbone, images, took = build(size), pictures(size, size.pictures, size.classes), []
    with tempfile.TemporaryDirectory() as cache:
        os.environ["OVERTONE_CACHE"] = cache
        for _ in range(2):
            start = time.perf_counter()
            Adapter.fit(images, backbone, method, training, (TEMPLATE,))
            took.append(time.perf_counter() - start)
    return took


def seconds_predicting(size: Size, method: FarlConfig, repeats: int) -> tuple[float, float]:
    """Return the best time of a batch of 32 pictures through the adapter and through the frozen tower, in turns."""
    backbone = build(size)
    torch.manual_seed(0)
    names = [f"kind {i}" for i in range(size.classes)]
    adapter = Adapter(backbone, FarlModel(backbone, method).eval(), names, (TEMPLATE,), {})
    x = torch.rand(32, 3, backbone.size, backbone.size)
    w = adapter.encode_classes(names)[1]
    best = [float("inf")] * 2

    def frozen() -> None:
        (100 * normalize(backbone.image(backbone.normalize(x)), dim=-1) @ w.T).softmax(dim=-1)

    with torch.no_grad():
        for _ in range(repeats + 1):
            for i, run in enumerate((lambda: adapter.probabilities(adapter.encode_pixels(x)), frozen)):
                start = time.perf_counter()
                run()
                best[i] = min(best[i], time.perf_counter() - start)
    return best[0], best[1]


def peak(size: Size, method: FarlConfig, training: TrainingConfig, classes: int) -> float:
    """Return this process's peak of memory in GiB after adapting for two steps to so many classes."""
    os.environ["OVERTONE_CACHE"] = ""
    images = pictures(size, 2 * training.batch_size, classes)
    Adapter.fit(images, build(size), method, replace(training, epochs=1), (TEMPLATE,))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def peak_elsewhere(arguments: Sequence[str], classes: int) -> float:
    """Return `peak` of a process of its own: a peak never comes down again."""
    command = [sys.executable, "-m", "benchmarks.adapt_speed", *arguments, "--peak", str(classes)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--injection", default="by_modality")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--published-steps", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--classes", type=int, nargs="*", default=[10, 100, 1000])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--peak", type=int, help="print the peak of memory at so many classes and end")
    options = parser.parse_args(arguments)
    logging.disable_progress_bar()
    size = TINY if options.tiny else WHOLE
    method = FarlConfig(injection=options.injection)
    training = TrainingConfig(epochs=options.epochs, batch_size=options.batch_size, device=options.device)
    if options.peak:
        print(peak(size, method, training, options.peak))
        return
    steps = training.epochs * -(-size.pictures // training.batch_size)
    print(
        f"{size.shots} shots x {size.classes} classes, {steps} steps of {training.batch_size}; {machine()}\n",
        flush=True,
    )
    step = seconds_published(size, method, training, options.published_steps)
    cold, again = seconds_ours(size, method, training)
    print("| procedure | seconds | times faster |\n|---|---:|---:|")
    print(f"| published ({options.published_steps} steps, scaled to {steps}) | {step * steps:.1f} | 1 |")
    print(f"| ours | {cold:.1f} | {step * steps / cold:.1f} |")
    print(f"| ours, the next run on these pictures | {again:.1f} | {step * steps / again:.1f} |\n", flush=True)
    same = ["--injection", options.injection, "--batch-size", str(options.batch_size)] + ["--tiny"] * options.tiny
    print("| classes | peak GiB |\n|---:|---:|")
    for classes in options.classes:
        print(f"| {classes:,} | {peak_elsewhere(same, classes):.2f} |", flush=True)
    adapted, frozen = seconds_predicting(size, method, options.repeats)
    print(f"\nPredicting: {adapted:.3f} s a batch of 32, frozen {frozen:.3f} s: {100 * (adapted / frozen - 1):+.1f} %")


if __name__ == "__main__":
    main()
