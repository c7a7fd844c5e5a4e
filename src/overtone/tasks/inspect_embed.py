"""Embed a data set with a model into two files that match row by row, as `inspect` takes them."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from overtone.data import Record, Skipped, check, load_tests
from overtone.data.embeddings import Matrix, load_embeddings
from overtone.data.names import count
from overtone.data.pairs import check_pairs, load_pairs
from overtone.errors import UserError
from overtone.farl.adapter import default_templates
from overtone.farl.states import mean_over_templates
from overtone.models.backbone import Backbone, load_backbone
from overtone.progress import shown
from overtone.report import Choice

if TYPE_CHECKING:
    from overtone.tasks.inspect import InspectConfig

BATCH = 64  # pictures or texts a pass


@dataclass(frozen=True)
class Embedded:
    """What a model made of a data set: two matrices that match row by row."""

    image: Matrix
    text: Matrix
    choices: list[Choice]
    skipped: list[Skipped]


@dataclass(frozen=True)
class Texts:
    """The pictures to embed, and beside each its texts: rows of what `encode` gives."""

    pictures: Sequence[Record]
    rows: Sequence[Sequence[int]]
    encode: Callable[[Backbone], Float[Tensor, "texts width"]]
    choices: Sequence[tuple[str, str, str]]
    skipped: Sequence[Skipped]


def embed(config: "InspectConfig", model: str, folder: Path) -> Embedded:
    """Embed the test pictures of a data set, each once for each of its texts, into image.npy and text.npy.

    The texts are the names of classes in the model's sentences, or captions. Raises UserError.
    """
    texts = read_captions(config) if config.captions else read_classes(config)
    backbone = load_backbone(model, config.device)
    y = texts.encode(backbone)
    counts = torch.tensor([len(rows) for rows in texts.rows])
    order = torch.tensor([row for rows in texts.rows for row in rows])
    images = zip(encode_images(backbone, texts.pictures, config.device), counts.split(BATCH), strict=True)
    _write(folder / "image.npy", (x.repeat_interleave(times, 0) for x, times in images), len(order), y.shape[1])
    _write(folder / "text.npy", (y[rows] for rows in order.split(BATCH)), len(order), y.shape[1])
    image, text = load_embeddings(str(folder / "image.npy"), str(folder / "text.npy"))
    assert text is not None
    weights = Choice("model", f"{backbone.name}, weights {backbone.digest[:12]}", "set by you")
    return Embedded(image, text, [weights, *(Choice(*choice) for choice in texts.choices)], list(texts.skipped))


def read_classes(config: "InspectConfig") -> Texts:
    """Return labelled test pictures, or all where the data has no test level, with the names of their classes."""
    tests = load_tests(config.data, config.image_column, config.text_column)
    images, bad = check(tests.images)
    templates = default_templates(config.model or "")
    sentences = [template.format(name) for name in images.classes for template in templates]

    def encode(backbone: Backbone) -> Tensor:
        return mean_over_templates(encode_texts(backbone, sentences, config.device), len(templates))

    said = ("texts", f"{count(len(images.classes), 'class')} as {' | '.join(templates)}", "the model's default")
    return Texts(images.records, [[k] for k in images.labels], encode, (*tests.choices, said), (*tests.skipped, *bad))


def read_captions(config: "InspectConfig") -> Texts:
    """Return the test pairs of the data, or those that are held out under the seed where it has none."""
    splits = check_pairs(load_pairs(config.data, config.image_column, config.text_column, config.seed))
    pairs = splits.test.pairs
    if not pairs:
        raise UserError(f"{config.data!r} is too small for test pairs to be held out of it: give more pairs.")
    captions = list(dict.fromkeys(caption for pair in pairs for caption in pair.captions))
    place = {caption: row for row, caption in enumerate(captions)}

    def encode(backbone: Backbone) -> Tensor:
        return encode_texts(backbone, captions, config.device)

    said = ("texts", f"{count(len(captions), 'different caption')} of {count(len(pairs), 'picture')}", "the test pairs")
    rows = [[place[caption] for caption in pair.captions] for pair in pairs]
    return Texts([pair.image for pair in pairs], rows, encode, (*splits.choices, said), splits.skipped)


def encode_images(backbone: Backbone, records: Sequence[Record], device: str) -> Iterator[Float[Tensor, "batch width"]]:
    """Yield the embeddings of pictures, of unit length, a batch at a time; they are opened on all cores."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in shown(range(0, len(records), BATCH), "embedding pictures"):
            pictures = pool.map(lambda record: backbone.preprocess(record.open()), records[start : start + BATCH])
            yield _encoded(backbone.image, torch.stack(list(pictures)).to(device))


def encode_texts(backbone: Backbone, texts: Sequence[str], device: str) -> Float[Tensor, "texts width"]:
    """Return the embeddings of texts, of unit length; those of like length are encoded together."""
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    batches = []
    for start in shown(range(0, len(texts), BATCH), "embedding texts"):
        ids = backbone.tokenize([texts[row] for row in order[start : start + BATCH]]).to(device)
        batches.append(_encoded(backbone.text, ids))
    return torch.cat(batches)[torch.tensor(order).argsort()]


@torch.inference_mode()
def _encoded(tower: Callable[[Tensor], Tensor], inputs: Tensor) -> Float[Tensor, "batch width"]:
    return normalize(tower(inputs), dim=-1).float().cpu()


def _write(path: Path, batches: Iterable[Float[Tensor, "batch width"]], rows: int, width: int) -> None:
    """Write a matrix as its rows come."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (rows, width)})
        for batch in batches:
            file.write(batch.numpy().tobytes())
