"""What the frozen, token-free part of a backbone makes of pictures and texts: computed once, then trained on."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils.checkpoint import checkpoint

from overtone.farl.injection import first_layer
from overtone.farl.views import Views
from overtone.models.backbone import Backbone
from overtone.progress import shown
from overtone.spectral import amplitude_only, phase_only

BATCH = 64  # pictures or texts a pass while encoding
KEPT = 512 * 2**20  # bytes of the text tower's activations that are kept for backward
ACTIVATIONS = (
    20  # tensors of a token's width that a transformer block keeps: norms, q, k, v, a hidden layer of 4 widths
)


@dataclass(frozen=True)
class ImageStates:
    """Pictures before the image tower's first injected block."""

    tokens: Float[Tensor, "batch length width"]
    frozen: Float[Tensor, "batch features"] | None = None  # the unadapted tower's embedding, of unit length
    phase: Float[Tensor, "batch length width"] | None = None
    amplitude: Float[Tensor, "batch length width"] | None = None

    def __getitem__(self, rows: Tensor | slice) -> "ImageStates":
        return self._each(lambda t: t[rows])

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The tensors that are there, by the names of their fields."""
        return {f.name: t for f in fields(self) if (t := getattr(self, f.name)) is not None}

    def to(self, device: torch.device | str) -> "ImageStates":
        """Move all tensors."""
        return self._each(lambda t: t.to(device))

    @staticmethod
    def joined(batches: Iterable["ImageStates"]) -> "ImageStates":
        """Return one batch of several."""
        parts = [batch.tensors for batch in batches]
        return ImageStates(**{name: torch.cat([part[name] for part in parts]) for name in parts[0]})

    def _each(self, change: Callable[[Tensor], Tensor]) -> "ImageStates":
        return ImageStates(**{name: change(t) for name, t in self.tensors.items()})


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
def image_states(
    backbone: Backbone, pixels: Float[Tensor, "batch 3 h w"], streams: bool, frozen: bool = True
) -> ImageStates:
    """Run pictures in [0, 1] up to the first injected block.

    With `streams`, run their phase-only and amplitude-only views too; with `frozen`, run on to the frozen embedding.
    """
    tower, first = backbone.image, first_layer(backbone.image.depth)

    def lower(x: Tensor) -> Tensor:
        tokens, mask = tower.embed(backbone.normalize(x))
        return tower.blocks(tokens, mask, 0, first)

    tokens = lower(pixels)
    embedding = normalize(tower.finish(tokens, None, first), dim=-1) if frozen else None
    if not streams:
        return ImageStates(tokens, embedding)
    return ImageStates(tokens, embedding, lower(phase_only(pixels)), lower(amplitude_only(pixels)))


@torch.no_grad()
def text_states(
    backbone: Backbone, names: Sequence[str], templates: Sequence[str], device: torch.device | str
) -> TextStates:
    """Run every name in every template up to the first injected block."""
    tower, first = backbone.text, first_layer(backbone.text.depth)
    embedded, order = text_buckets(backbone, [t.format(name) for name in names for t in templates], device)
    buckets: list[tuple[Tensor, Tensor | None]] = []
    frozen: list[Tensor] = []
    for tokens, mask in embedded:
        states = tower.blocks(tokens, mask, 0, first)
        buckets.append((states, mask))
        frozen.append(normalize(tower.finish(states, mask, first), dim=-1))
    w = mean_over_templates(torch.cat(frozen)[order], len(templates))
    return TextStates(tuple(buckets), order, w, len(templates))


@torch.no_grad()
def text_buckets(
    backbone: Backbone, texts: Sequence[str], device: torch.device | str
) -> tuple[list[tuple[Tensor, Tensor | None]], Int[Tensor, " texts"]]:
    """Return what enters the text tower's first block, in buckets of like length, and each text's row among them."""
    ids = backbone.tokenize(texts).to(device)
    # Most texts are far shorter than the longest; the last column is padding for all but that.
    by_length = (ids != ids[:, -1:]).sum(dim=1).argsort(stable=True)
    buckets = [_without_padding(*backbone.text.embed(ids[rows])) for rows in by_length.split(BATCH)]
    return buckets, by_length.argsort()


def encode_buckets(
    encode: Callable[[Tensor, Tensor | None], Tensor],
    buckets: Iterable[tuple[Tensor, Tensor | None]],
    layers: int,
) -> Float[Tensor, "texts features"]:
    """Return `encode` of all buckets, with the gradient of the whole, on memory that many classes do not add to.

    Activations of `layers` blocks are kept for backward up to KEPT bytes; those of the buckets beyond are computed a
    second time there (checkpointing, Chen et al. 2016).
    """
    parts, kept = [], 0
    for tokens, mask in buckets:
        kept += ACTIVATIONS * tokens.nbytes * layers
        if torch.is_grad_enabled() and kept > KEPT:
            parts.append(checkpoint(encode, tokens, mask, use_reentrant=False, preserve_rng_state=False))
        else:
            parts.append(encode(tokens, mask))
    return torch.cat(parts)


def _without_padding(tokens: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Cut at the longest text; padding comes last."""
    if mask is None:
        return tokens, None
    length = int(mask.sum(dim=1).max())
    return tokens[:, :length], mask[:, :length]


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
    for start in shown(range(0, len(pictures), BATCH), "encoding views of the pictures"):
        pixels = views.batch(pictures[start : start + BATCH], numbers[start : start + BATCH])
        filled = torch.cat([pixels, pixels[-1:].expand(BATCH - len(pixels), -1, -1, -1)])
        yield image_states(backbone, filled.to(device), streams)[: len(pixels)]
