"""Put SHFIN, or another mixer, in the place of attention or spatial convolutions in a model of transformers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.models.vit.modeling_vit import ViTAttention, ViTPatchEmbeddings
from transformers.utils.import_utils import is_tracing

from overtone.counting import Counted, evaluating, in_units, multiply_adds
from overtone.errors import did_you_mean
from overtone.models.backbone import read_model
from overtone.models.shfin import MIXERS, MixerName, make_mixer
from overtone.nn.patch_spectrum import PatchSpectrum

KINDS = ("vit", "convnext", "resnet")  # config.model_type
PATCH = 14  # the largest in a convolutional network by default, as in the reconstructed Small
IMAGE_SIZE = 224  # where the config names none
SETTINGS = "overtone_swap"  # in the config of a swapped model: with what


@dataclass(frozen=True)
class Change:
    """One layer that was swapped, with its parameters and multiply-adds before and after."""

    name: str
    before: str
    after: str
    grid: tuple[int, int]
    parameters: tuple[int, int]
    multiply_adds: tuple[int, int]


@dataclass(frozen=True)
class Swapped:
    """What `swap` changed and what it left; `str` gives a table. Multiply-adds are those of one picture."""

    model: str
    changes: tuple[Change, ...]
    stays: Mapping[str, str]
    """The spatial convolutions that stay, by name, and why."""
    before: Counted
    after: Counted

    def __str__(self) -> str:
        first, width = self.changes[0], max(len(change.name) for change in self.changes)
        return "\n".join(
            [
                f"{self.model}: {len(self.changes)} layers, {first.before} -> {first.after}",
                *(f"  {c.name:<{width}}  {_sizes(c.parameters, c.multiply_adds)}" for c in self.changes),
                *(f"  {name:<{width}}  stays ({why})" for name, why in self.stays.items()),
                "in all: "
                + _sizes(
                    (self.before.parameters, self.after.parameters),
                    (self.before.multiply_adds, self.after.multiply_adds),
                ),
            ]
        )


class OverTokens(nn.Module):
    """A mixer in the place of a ViT's attention.

    The class token has no position on the grid. It receives the mean of x + x^ over the patch tokens x and their mixed
    x^, and the patch tokens receive nothing of it (ours). The mean of x^ alone would not do: it is zero where a
    spectral mixer drops frequency 0, and the class token would see nothing.
    """

    def __init__(self, mixer: nn.Module, grid: tuple[int, int]) -> None:
        """Take the patches' rows and columns at the model's own resolution."""
        super().__init__()
        self.mixer, self.grid = mixer, grid

    def forward(
        self, hidden_states: Float[Tensor, "batch length dim"], attention_mask: Tensor | None = None, **unused: Any
    ) -> tuple[Float[Tensor, "batch length dim"], None]:
        """Return the mixed tokens, and None for the attention weights that there are not.

        Pictures may be larger or smaller than the model's own, in its proportions: rows and columns are inferred from
        the number of patches. Raises ValueError for a number that does not fit them, and for a mask.
        """
        # While a graph is made, transformers lays out a mask even where there is nothing to mask.
        if attention_mask is not None and not is_tracing(hidden_states):
            raise ValueError("attention_mask must be None: the mixer in the place of attention mixes whole grids")
        patches = hidden_states[:, 1:]
        mixed = self.mixer(patches.unflatten(1, self.grid_of(patches.shape[1]))).flatten(1, 2)
        cls = (patches + mixed).mean(dim=1, keepdim=True)
        return torch.cat([cls, mixed], dim=1), None

    def grid_of(self, patches: int) -> tuple[int, int]:
        """Return rows and columns of so many patches."""
        rows, columns = self.grid
        if patches == rows * columns:
            return self.grid
        scale = (patches / (rows * columns)) ** 0.5
        grid = (round(rows * scale), round(columns * scale))
        if grid[0] * grid[1] != patches:
            raise ValueError(f"{patches} patches are no grid in proportion to the model's {rows} x {columns}")
        return grid


class OverMap(nn.Module):
    """A mixer in the place of a convolution that keeps the size and the channels of its map."""

    def __init__(self, mixer: nn.Module) -> None:
        super().__init__()
        self.mixer = mixer

    def forward(self, x: Float[Tensor, "batch dim h w"]) -> Float[Tensor, "batch dim h w"]:
        """Mix the positions of a map whose channels come first."""
        return self.mixer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class _Place:
    """Where a mixer goes: the layer that is there, its channels, its rows and columns at the model's resolution."""

    layer: nn.Module
    dim: int
    grid: tuple[int, int]


def swap(
    model: PreTrainedModel,
    mixer: MixerName = "shfin",
    patch: int | None = None,
    kept: int = 16,
    rank: int = 4,
    image_size: int | None = None,
) -> Swapped:
    """Swap, in place, the attention of a ViT or the spatial convolutions of a ConvNeXT or ResNet for a mixer.

    Of convolutions, those with a kernel above 1, stride 1 and as many channels out as in are swapped; those that
    change size or channels stay, as does everything else. The mixers are new and random: train what comes out, with
    `anneal` before every step. The model's config keeps the settings: `load_swapped` reads what `save_pretrained`
    wrote, and transformers' own `from_pretrained` would put random attention or convolutions back.

    `patch`, `kept` and `rank` are SHFIN's. By default a patch is a ViT's whole grid, as no other layer there mixes
    patches; in a convolutional network, the fewest equal patches of at most 14 x 14 cover a map. `image_size`, in
    pixels a side, is the config's by default, 224 where it has none: patches, filters and counts follow from it.

    Raises ValueError for a model of another kind or with nothing to swap, an unknown mixer, and a layer that the mixer
    does not fit, which it names; the model is then unchanged.
    """
    if mixer not in MIXERS:
        raise ValueError(f"mixer must be one of {', '.join(MIXERS)}, got {mixer!r}.{did_you_mean(mixer, MIXERS)}")
    kind = getattr(model.config, "model_type", None)
    if kind not in KINDS:
        raise ValueError(f"model must be a transformers ViT, ConvNeXT or ResNet, got {type(model).__name__} ({kind})")
    pictures = _pictures(model, image_size)
    places = _places(model, pictures)
    if not places:
        raise ValueError(
            f"model must have attention or spatial convolutions, this {type(model).__name__} has none left"
        )
    mixers = {name: _fitted(name, place, mixer, patch, kept, rank) for name, place in places.items()}
    before, stays = multiply_adds(model, pictures), _staying(model)
    _put(model, places, mixers)
    after = multiply_adds(model, pictures)
    settings = {"mixer": mixer, "patch": patch, "kept": kept, "rank": rank, "image_size": image_size}
    setattr(model.config, SETTINGS, settings)
    changes = tuple(_change(name, place, mixers[name], before, after) for name, place in places.items())
    return Swapped(type(model).__name__, changes, stays, before, after)


def load_swapped(folder: str | Path) -> PreTrainedModel:
    """Read a model that was swapped and then saved by `save_pretrained`.

    Raises ValueError for one that was not swapped, OSError where there is none, and UserError for weights that are not
    those of the model.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    if not hasattr(config, SETTINGS):
        raise ValueError(f"{str(folder)!r} holds a model that was not swapped: read it with from_pretrained")
    settings = dict(getattr(config, SETTINGS))
    image_size = settings.pop("image_size")
    kind: Any = getattr(transformers, config.architectures[0])

    class Laid(kind):  # swapped before its weights are read, under the names that transformers stores them by
        def __init__(self, config: PreTrainedConfig) -> None:
            super().__init__(config)
            places = _places(self, _pictures(self, image_size))
            _put(self, places, {name: _fitted(name, place, **settings) for name, place in places.items()})

    model = read_model(Laid, Path(folder), str(folder), "auto")
    model.__class__ = kind
    for module in model.modules():
        if isinstance(module, PatchSpectrum):
            module.reset_buffers()  # no part of the state
    return model


def is_swapped(folder: str | Path) -> bool:
    """Return whether a folder holds a model that was swapped before it was saved; OSError where it holds none."""
    return hasattr(AutoConfig.from_pretrained(folder, local_files_only=True), SETTINGS)


def _pictures(model: PreTrainedModel, image_size: int | None) -> Float[Tensor, "1 channels h w"]:
    """Return an empty picture, to count with."""
    like = next(model.parameters())
    size: Any = image_size or getattr(model.config, "image_size", IMAGE_SIZE)
    sides = (size, size) if isinstance(size, int) else tuple(size)
    return torch.zeros(1, model.config.num_channels, *sides, dtype=like.dtype, device=like.device)


def _places(model: PreTrainedModel, pictures: Tensor) -> dict[str, _Place]:
    return _attention(model) if model.config.model_type == "vit" else _convolutions(model, pictures)


def _put(model: PreTrainedModel, places: Mapping[str, _Place], mixers: Mapping[str, nn.Module]) -> None:
    for name, place in places.items():
        vit = isinstance(place.layer, ViTAttention)
        over = OverTokens(mixers[name], place.grid) if vit else OverMap(mixers[name])
        model.set_submodule(name, over.train(place.layer.training))
    for module in model.modules():
        if isinstance(module, ViTPatchEmbeddings):
            module.register_forward_pre_hook(_in_proportion)


def _in_proportion(embeddings: ViTPatchEmbeddings, inputs: tuple[Tensor, ...]) -> None:
    """Raise ValueError for pictures of other proportions: the mixers know the number of patches alone."""
    there = [side // patch for side, patch in zip(inputs[0].shape[-2:], embeddings.patch_size, strict=True)]
    own = [side // patch for side, patch in zip(embeddings.image_size, embeddings.patch_size, strict=True)]
    if there[0] * own[1] != there[1] * own[0]:
        raise ValueError(f"{there[0]} x {there[1]} patches are not in proportion to the model's {own[0]} x {own[1]}")


def _attention(model: nn.Module) -> dict[str, _Place]:
    embeddings = next(module for module in model.modules() if isinstance(module, ViTPatchEmbeddings))
    rows, columns = (side // patch for side, patch in zip(embeddings.image_size, embeddings.patch_size, strict=True))
    layers = {name: module for name, module in model.named_modules() if isinstance(module, ViTAttention)}
    return {name: _Place(layer, layer.config.hidden_size, (rows, columns)) for name, layer in layers.items()}


def _convolutions(model: nn.Module, pictures: Tensor) -> dict[str, _Place]:
    """Return the convolutions to swap; their maps' sizes are seen by running the model once."""
    layers = {name: layer for name, layer in _spatial(model) if not _why_it_stays(layer)}
    grids: dict[nn.Module, tuple[int, int]] = {}

    def see(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        grids[layer] = (inputs[0].shape[-2], inputs[0].shape[-1])

    hooks = [layer.register_forward_pre_hook(see) for layer in layers.values()]
    with evaluating(model), torch.no_grad():
        model(pictures)
    for hook in hooks:
        hook.remove()
    return {name: _Place(layer, layer.in_channels, grids[layer]) for name, layer in layers.items()}


def _spatial(model: nn.Module) -> Iterator[tuple[str, nn.Conv2d]]:
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and max(module.kernel_size) > 1:
            yield name, module


def _why_it_stays(layer: nn.Conv2d) -> str:
    """Return why a convolution is not swapped, or nothing."""
    if max(layer.stride) > 1:
        return f"stride {max(layer.stride)}"
    return "" if layer.in_channels == layer.out_channels else f"{layer.in_channels} to {layer.out_channels} channels"


def _staying(model: nn.Module) -> dict[str, str]:
    return {name: why for name, layer in _spatial(model) if (why := _why_it_stays(layer))}


def _fitted(name: str, place: _Place, mixer: MixerName, patch: int | None, kept: int, rank: int) -> nn.Module:
    """Return a new mixer for a place, as precise and where the old layer was; its errors name the layer."""
    try:
        made = make_mixer(mixer, place.dim, place.grid, _patch(place, patch), kept, rank)
    except ValueError as error:
        raise ValueError(f"{name}, on a map of {place.grid[0]} x {place.grid[1]}: {error}") from error
    like = next(place.layer.parameters())
    return made.to(like.device, like.dtype)


def _patch(place: _Place, patch: int | None) -> tuple[int, int]:
    if patch is None:
        whole = isinstance(place.layer, ViTAttention)
        return place.grid if whole else (_even_part(place.grid[0]), _even_part(place.grid[1]))
    if patch > min(place.grid):
        raise ValueError(f"patch must be at most {min(place.grid)}, got {patch}")
    return patch, patch


def _even_part(side: int) -> int:
    """Return the size of the fewest equal patches, PATCH at most, that cover a side."""
    return -(-side // -(-side // PATCH))


def _change(name: str, place: _Place, mixer: nn.Module, before: Counted, after: Counted) -> Change:
    return Change(
        name,
        type(place.layer).__name__,
        type(mixer).__name__,
        place.grid,
        (_parameters(place.layer), _parameters(mixer)),
        (before.by_module[name], after.by_module.get(name, 0)),
    )


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _sizes(parameters: tuple[int, int], work: tuple[int, int]) -> str:
    (p, q), (m, n) = map(in_units, parameters), map(in_units, work)
    return f"parameters {p} -> {q}, multiply-adds {m} -> {n}"
