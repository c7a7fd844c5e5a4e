"""What the frozen, token-free part of a backbone makes of pictures and texts: computed once, then trained on."""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import kornia.augmentation as augment
import torch
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from overtone.data import Record
from overtone.farl.injection import first_layer
from overtone.models.backbone import Backbone
from overtone.spectral import amplitude_mix, amplitude_only, phase_only

BATCH = 64  # pictures or texts a pass while encoding
MEMORY = 2 * 2**30  # bytes of cached states that stay in memory; more go to a file that is mapped
CROP = (0.5, 1.0)  # area of a random resized crop, as published (MMRL)


@dataclass(frozen=True)
class ImageStates:
    """Pictures before the image tower's first injected block."""

    tokens: Float[Tensor, "batch length width"]
    frozen: Float[Tensor, "batch features"]  # the unadapted tower's embedding, of unit length
    phase: Float[Tensor, "batch length width"] | None = None
    amplitude: Float[Tensor, "batch length width"] | None = None

    def __getitem__(self, rows: Tensor | slice) -> "ImageStates":
        return ImageStates(*(t[rows] for t in self.tensors))

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors that are there, in the order of the fields."""
        return [t for t in (self.tokens, self.frozen, self.phase, self.amplitude) if t is not None]

    def to(self, device: torch.device | str) -> "ImageStates":
        """Move all tensors."""
        return ImageStates(*(t.to(device) for t in self.tensors))

    @staticmethod
    def joined(batches: Iterable["ImageStates"]) -> "ImageStates":
        """Return one batch of several."""
        return ImageStates(*(torch.cat(parts) for parts in zip(*(batch.tensors for batch in batches), strict=True)))


@dataclass(frozen=True)
class TextStates:
    """Class names, in every template, before the text tower's first injected block, in buckets of like length."""

    buckets: tuple[tuple[Float[Tensor, "texts length width"], Bool[Tensor, "texts length"] | None], ...]
    order: Int[Tensor, " texts"]  # the row of each text among all buckets; templates run fastest
    frozen: Float[Tensor, "classes features"]  # the unadapted tower's embedding, mean over templates, of unit length
    templates: int

    def per_class(self, w: Float[Tensor, "texts features"]) -> Float[Tensor, "classes features"]:
        """Bring unit embeddings, as the buckets give them, into order and average them over templates."""
        return mean_over_templates(w[self.order], self.templates)


def mean_over_templates(w: Float[Tensor, "texts features"], templates: int) -> Float[Tensor, "classes features"]:
    """Average unit embeddings over each class's templates and bring them to unit length."""
    return normalize(w.unflatten(0, (-1, templates)).mean(dim=1), dim=-1)


@torch.no_grad()
def image_states(backbone: Backbone, pixels: Float[Tensor, "batch 3 h w"], streams: bool) -> ImageStates:
    """Run pictures in [0, 1], and their phase-only and amplitude-only views, up to the first injected block."""
    tower, first = backbone.image, first_layer(backbone.image.depth)

    def lower(x: Tensor) -> Tensor:
        tokens, mask = tower.embed(backbone.normalize(x))
        return tower.blocks(tokens, mask, 0, first)

    tokens = lower(pixels)
    frozen = normalize(tower.pool(tower.blocks(tokens, None, first), None), dim=-1)
    if not streams:
        return ImageStates(tokens, frozen)
    return ImageStates(tokens, frozen, lower(phase_only(pixels)), lower(amplitude_only(pixels)))


@torch.no_grad()
def text_states(
    backbone: Backbone, names: Sequence[str], templates: Sequence[str], device: torch.device | str
) -> TextStates:
    """Run every name in every template up to the first injected block."""
    tower, first = backbone.text, first_layer(backbone.text.depth)
    ids = backbone.tokenize([template.format(name) for name in names for template in templates]).to(device)
    # Most texts are far shorter than the longest; the last column is padding for all but that.
    by_length = (ids != ids[:, -1:]).sum(dim=1).argsort(stable=True)
    buckets: list[tuple[Tensor, Tensor | None]] = []
    frozen: list[Tensor] = []
    for rows in by_length.split(BATCH):
        tokens, mask = _without_padding(*tower.embed(ids[rows]))
        states = tower.blocks(tokens, mask, 0, first)
        buckets.append((states, mask))
        frozen.append(normalize(tower.pool(tower.blocks(states, mask, first), mask), dim=-1))
    order = by_length.argsort()
    w = mean_over_templates(torch.cat(frozen)[order], len(templates))
    return TextStates(tuple(buckets), order, w, len(templates))


def _without_padding(tokens: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Cut at the longest text; padding comes last."""
    if mask is None:
        return tokens, None
    length = int(mask.sum(dim=1).max())
    return tokens[:, :length], mask[:, :length]


class Pixels(Sequence):
    """Pictures as a backbone wants them, in [0, 1], opened when asked for; the last few are kept."""

    def __init__(self, records: Sequence[Record], pixels: Callable[[Image.Image], Float[Tensor, "3 h w"]]) -> None:
        self.records = records
        self.open = lru_cache(BATCH)(lambda row: pixels(records[row].open()))

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, row: int) -> Float[Tensor, "3 h w"]:  # type: ignore[override]
        return self.open(row)


@dataclass(frozen=True)
class Views:
    """Random views of training pictures, each the same whenever it is asked for again."""

    pixels: Sequence[Float[Tensor, "3 h w"]] | Float[Tensor, "pictures 3 h w"]
    seed: int
    amplitude: bool = False  # mix in another picture's amplitude (FACT, Xu et al. 2021)

    def batch(self, pictures: Sequence[int], views: Sequence[int]) -> Float[Tensor, "batch 3 h w"]:
        """Return the given view of each picture."""
        return torch.stack([self.one(i, v) for i, v in zip(pictures, views, strict=True)])

    def one(self, picture: int, view: int) -> Float[Tensor, "3 h w"]:
        """Return one view; its random draws depend on the seed, the picture and the view alone."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(hash((self.seed, picture, view)))  # not that of any accelerator
            x = self.pixels[picture][None]
            crop = augment.RandomResizedCrop((x.shape[-2], x.shape[-1]), scale=CROP)
            x = augment.RandomHorizontalFlip()(crop(x))
            if self.amplitude:
                other = self.pixels[int(torch.randint(len(self.pixels), ()))][None]
                x = amplitude_mix(x, other, torch.rand(1)).clamp(0, 1)
            return x[0]


def view_states(
    backbone: Backbone,
    views: Views,
    pictures: Sequence[int],
    numbers: Sequence[int],
    streams: bool,
    device: torch.device | str,
) -> Iterator[ImageStates]:
    """Yield the states of views in passes of BATCH, the last one filled up.

    How a row rounds depends on the shape it is computed in. With one shape, a view's states are the same, bit for bit,
    whatever it is batched with.
    """
    for start in range(0, len(pictures), BATCH):
        pixels = views.batch(pictures[start : start + BATCH], numbers[start : start + BATCH])
        filled = torch.cat([pixels, pixels[-1:].expand(BATCH - len(pixels), -1, -1, -1)])
        yield image_states(backbone, filled.to(device), streams)[: len(pixels)]


class StateCache:
    """The states of every view of every picture, filled once; in memory, or in a mapped file if they would not fit."""

    def __init__(self, backbone: Backbone, views: Views, count: int, streams: bool, device: torch.device | str) -> None:
        self.count = count
        rows = len(views.pixels) * count
        pictures, numbers = [i // count for i in range(rows)], [i % count for i in range(rows)]
        rooms: list[Tensor] = []
        start = 0
        for states in view_states(backbone, views, pictures, numbers, streams, device):
            if not rooms:
                on_disk = rows * sum(t[0].nbytes for t in states.tensors) > MEMORY
                rooms = [_room(rows, t, on_disk) for t in states.tensors]
            for room, part in zip(rooms, states.tensors, strict=True):
                room[start : start + len(part)] = part.cpu()
            start += len(states)
        self.states = ImageStates(*rooms)

    def batch(self, pictures: Sequence[int], views: Sequence[int]) -> ImageStates:
        """Return the states of the given view of each picture."""
        return self.states[torch.tensor(pictures) * self.count + torch.tensor(views)]


def _room(rows: int, like: Tensor, on_disk: bool) -> Tensor:
    shape = (rows, *like.shape[1:])
    if not on_disk:
        return torch.empty(shape, dtype=like.dtype)
    with tempfile.NamedTemporaryFile(prefix="overtone-") as file:  # unlinked at once; the mapping keeps it alive
        size = torch.Size(shape).numel()
        if hasattr(os, "posix_fallocate"):  # a full disk is an OSError here; while writing to the mapping, a crash
            os.posix_fallocate(file.fileno(), 0, max(1, size * like.element_size()))
        return torch.from_file(file.name, shared=True, size=size, dtype=like.dtype).view(shape)
