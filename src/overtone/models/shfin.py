"""SHFIN networks for pictures: stages of mixer blocks, native to transformers."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad
from transformers import AutoConfig, AutoModelForImageClassification, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import ImageClassifierOutput

from overtone.nn.adaptive import AdaptiveSHFIN
from overtone.nn.block import MixerBlock, Norm
from overtone.nn.mixers import AFNO, Attention, Convolution, FNet, GFNet
from overtone.nn.patch_spectrum import PatchSpectrum
from overtone.nn.shfin import SHFIN, DeepSHFIN, schedule

MixerName = Literal["shfin", "attention", "gfnet", "afno", "fnet", "conv"]
MIXERS: tuple[MixerName, ...] = ("shfin", "attention", "gfnet", "afno", "fnet", "conv")
CellsName = Literal["linear", "overlapping"]
STRIDES = {1: (1, 1, 1), 2: (1, 2, 1), 4: (2, 2, 1), 8: (2, 2, 2)}  # of an overlapping stem's three convolutions
HEAD = 32  # channels of one head of attention
PRECISE = ["scores", "theta"]  # parameters that half precision would turn into a choice of other frequencies
CACHED = 2**19  # numbers of a stage's maps at a time, when none are kept for a backward pass


class ShfinConfig(PreTrainedConfig):
    """The sizes of a network: a stem, then stages of `depths` blocks of `dims` channels at half the last resolution."""

    model_type = "shfin"

    def __init__(
        self,
        image_size: int = 224,
        num_channels: int = 3,
        stem: int = 4,
        dims: Sequence[int] = (64, 128, 256, 384),
        depths: Sequence[int] = (2, 4, 10, 2),
        patches: Sequence[int] = (14, 14, 14, 7),
        kept: Sequence[int] = (16, 16, 16, 16),
        rank: int = 4,
        ratio: float = 4.0,
        mixer: MixerName = "shfin",
        norm: Norm = "pre",
        shift: bool = False,
        deep: Sequence[int] | None = None,
        budget: float = 1.0,
        cells: CellsName = "linear",
        **kwargs: Any,
    ) -> None:
        """Take the stem's stride, and for each stage channels, blocks, patch size and K; the default is Small.

        `mixer` puts another in its place, all else equal; `shift` shifts the patches of every second block. The first
        `deep` blocks of a stage have their feed-forward on the kept coefficients, the others on all positions. With a
        `budget` below 1 these others are content-adaptive (`AdaptiveSHFIN`): a patch keeps that share of the K on
        average, 1 frequency or more. With `cells="overlapping"`, convolutions of 3 x 3 stand where else a linear map
        makes each cell one position: three in the stem (Xiao et al., arXiv 2106.14881) and one between stages.

        Raises ValueError for lists of different lengths, an unknown mixer or kind of cells, a patch larger than its
        stage's map, a budget not in (0, 1], more deep blocks than a stage has, a stem below 1, or an overlapping one
        whose stride is not 1, 2, 4 or 8.
        """
        deep = [0] * len(dims) if deep is None else list(deep)
        stages = {"dims": dims, "depths": depths, "patches": patches, "kept": kept, "deep": deep}
        if len({len(values) for values in stages.values()}) > 1:
            raise ValueError(f"each stage needs one of each, got {stages}")
        if mixer not in MIXERS:
            raise ValueError(f"mixer must be one of {', '.join(MIXERS)}, got {mixer!r}")
        if not 0 < budget <= 1:
            raise ValueError(f"budget must be above 0 and at most 1, got {budget}")
        if cells not in CELLS:
            raise ValueError(f"cells must be {' or '.join(CELLS)}, got {cells!r}")
        if stem < 1:
            raise ValueError(f"stem must be 1 or more, got {stem}")
        if any(not 0 <= some <= of for some, of in zip(deep, depths, strict=True)):
            raise ValueError(f"deep must be from 0 to the blocks of each stage, {list(depths)}, got {deep}")
        if cells == "overlapping" and stem not in STRIDES:
            raise ValueError(f"stem must be 1, 2, 4 or 8 with overlapping cells, got {stem}")
        for stage, patch in enumerate(patches):
            side = -(-image_size // (stem * 2**stage))
            if mixer == "shfin" and patch > side:
                raise ValueError(f"patches: stage {stage + 1} has a map of {side} x {side}, got a patch of {patch}")
        self.image_size, self.num_channels, self.stem = image_size, num_channels, stem
        self.dims, self.depths = list(dims), list(depths)
        self.patches, self.kept, self.rank, self.ratio = list(patches), list(kept), rank, ratio
        self.mixer, self.norm, self.shift, self.deep, self.budget = mixer, norm, shift, deep, budget
        self.cells = cells
        super().__init__(**kwargs)

    @classmethod
    def small(cls, **changes: Any) -> "ShfinConfig":
        """Return Small (224 x 224): 10.2 M parameters, 1.98 G multiply-adds (reconstruction; seed: 10.3 M, 2.0 G)."""
        return cls(**{"num_labels": 1000} | changes)

    @classmethod
    def fast(cls, **changes: Any) -> "ShfinConfig":
        """Return Small with most feed-forwards on kept coefficients (ours): 10.2 M parameters, 0.86 G multiply-adds."""
        return cls.small(**{"deep": (2, 4, 7, 0)} | changes)

    @classmethod
    def tiny(cls, **changes: Any) -> "ShfinConfig":
        """Return Tiny (32 x 32): 3.8 M parameters (reconstruction; the seed: 3.8 M)."""
        sizes = {"dims": (96, 192, 288), "depths": (3, 3, 3), "patches": (16, 8, 4), "kept": (16, 16, 10)}
        return cls(**{"image_size": 32, "stem": 2, "num_labels": 10} | sizes | changes)


class ShfinModel(nn.Module):
    """The stages: pictures in, a map of features out."""

    def __init__(self, config: ShfinConfig) -> None:
        super().__init__()
        stem, halving = CELLS[config.cells]
        self.stem = stem(config.num_channels, config.dims[0], config.stem)
        self.stages = nn.ModuleList()
        side = -(-config.image_size // config.stem)
        for i, (dim, depth) in enumerate(zip(config.dims, config.depths, strict=True)):
            halve = [nn.LayerNorm(config.dims[i - 1]), halving(config.dims[i - 1], dim, 2)] if i else []
            blocks = [_block(config, i, side, block) for block in range(depth)]
            own_patches = config.mixer == "shfin" and not config.shift
            self.stages.append(Stage(halve, blocks, config.patches[i] if own_patches else None))
            side = -(-side // 2)
        self.norm = nn.LayerNorm(config.dims[-1])

    def forward(self, pixel_values: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch rows columns dim"]:
        """Return the last stage's map, normalised; a picture that does not divide is padded with zeros."""
        x = self.stem(pixel_values.permute(0, 2, 3, 1))
        for stage in self.stages:
            x = stage(x)
        return self.norm(x)


class Stage(nn.Module):
    """Halve the resolution, but in the first stage, then let the blocks pass.

    Where mixers keep to their patches, all of a block does: patches pass through the blocks as a batch of small maps,
    laid out once a stage and not twice a block. At inference a few pass through all blocks at a time, so that what
    lies between two layers stays in the processor's cache.
    """

    def __init__(self, halve: Sequence[nn.Module], blocks: Sequence[MixerBlock], patch: int | None) -> None:
        """Take the layers; and the size of the patches that all mixers keep to, if they do."""
        super().__init__()
        self.halve, self.blocks, self.patch = nn.Sequential(*halve), nn.Sequential(*blocks), patch

    def forward(self, x: Float[Tensor, "batch h w dim"]) -> Float[Tensor, "batch rows columns out"]:
        """Return the map after the last block."""
        x, s = self.halve(x), self.patch
        if not s or x.shape[1] % s or x.shape[2] % s:
            return self.mixed(x)
        batch, rows, columns, dim = x.shape[0], x.shape[1] // s, x.shape[2] // s, x.shape[3]
        patches = x.view(batch, rows, s, columns, s, dim).transpose(2, 3).flatten(0, 2)
        return self.mixed(patches).view(batch, rows, columns, s, s, dim).transpose(2, 3).reshape(x.shape)

    def mixed(self, maps: Float[Tensor, "batch h w dim"]) -> Float[Tensor, "batch h w dim"]:
        """Let maps pass through all blocks: at inference, few enough at a time for the cache."""
        if self.training or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self.blocks(maps)
        return torch.cat([self.blocks(few) for few in maps.split(max(1, CACHED // maps.shape[1:].numel()))])


class Cells(nn.Module):
    """Make each cell of size x size positions one, by a linear map: a convolution whose stride is its kernel."""

    def __init__(self, dim: int, out: int, size: int) -> None:
        super().__init__()
        self.size, self.reduce = size, nn.Linear(size**2 * dim, out)

    def forward(self, x: Float[Tensor, "batch h w dim"]) -> Float[Tensor, "batch rows columns out"]:
        """Return the smaller map; a side that does not divide is padded with zeros."""
        s = self.size
        x = pad(x, [0, 0, 0, -x.shape[2] % s, 0, -x.shape[1] % s])
        batch, height, width, dim = x.shape
        cells = x.reshape(batch, height // s, s, width // s, s, dim).transpose(2, 3)
        return self.reduce(cells.reshape(batch, height // s, width // s, s * s * dim))


class OverlappingCells(nn.Module):
    """Make the map smaller by a convolution of 3 x 3, which sees the neighbours of each cell too."""

    def __init__(self, dim: int, out: int, stride: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(dim, out, 3, stride, padding=1)

    def forward(self, x: Float[Tensor, "batch h w dim"]) -> Float[Tensor, "batch rows columns out"]:
        """Return the smaller map, its sides rounded up."""
        return self.reduce(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class OverlappingStem(nn.Sequential):
    """Three convolutions of 3 x 3 in place of one linear map a cell (Xiao et al., arXiv 2106.14881).

    LayerNorm stands for their batch normalisation, so that no picture depends on what it is batched with (ours).
    """

    def __init__(self, dim: int, out: int, stride: int) -> None:
        layers: list[nn.Module] = []
        for inputs, step in zip((dim, out, out), STRIDES[stride], strict=True):
            layers += [OverlappingCells(inputs, out, step), nn.LayerNorm(out), nn.GELU()]
        super().__init__(*layers[:-2])


CELLS: dict[CellsName, tuple[type[nn.Module], type[nn.Module]]] = {  # what stands in front, and between stages
    "linear": (Cells, Cells),
    "overlapping": (OverlappingStem, OverlappingCells),
}


class ShfinForImageClassification(PreTrainedModel):
    """A SHFIN network, or the same with another mixer, that classifies pictures."""

    config_class = ShfinConfig
    _keep_in_fp32_modules_strict = PRECISE
    config: ShfinConfig
    base_model_prefix = "shfin"
    main_input_name = "pixel_values"
    input_modalities = "image"

    def __init__(self, config: ShfinConfig) -> None:
        super().__init__(config)
        self.shfin = ShfinModel(config)
        self.classifier = nn.Linear(config.dims[-1], config.num_labels or 0)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Draw what the layers' own constructors do not."""
        if isinstance(module, PatchSpectrum):
            module.reset_buffers()  # not in the state: a model laid out on the meta device has them empty
        elif isinstance(module, nn.Linear | nn.Conv2d):
            module.reset_parameters()  # by the number of inputs: a fixed deviation is too small for narrow stages

    def forward(
        self, pixel_values: Float[Tensor, "batch channels h w"], labels: Int[Tensor, " batch"] | None = None
    ) -> ImageClassifierOutput:
        """Return logits (batch, num_labels), and the cross-entropy when there are labels.

        Raises ValueError for pictures of another shape or not of floating-point numbers, for pixels that are no
        numbers, and for labels out of range; the last two are not looked for in a compiled or exported graph.
        """
        self._require(pixel_values, labels)
        logits = self.classifier(self.shfin(pixel_values).mean(dim=(1, 2)))
        loss = None if labels is None else cross_entropy(logits, labels)
        return ImageClassifierOutput(loss=loss, logits=logits)

    def _require(self, pixel_values: Tensor, labels: Tensor | None) -> None:
        channels, classes = self.config.num_channels, self.config.num_labels or 0
        if pixel_values.ndim != 4 or pixel_values.shape[1] != channels or not pixel_values.is_floating_point():
            found = f"{pixel_values.dtype} {tuple(pixel_values.shape)}"
            raise ValueError(f"pixel_values must be floating-point (batch, {channels}, height, width), got {found}")
        if torch.compiler.is_compiling() or pixel_values.is_meta:
            return
        if not pixel_values.isfinite().all():
            raise ValueError("pixel_values must be finite, got NaN or infinity")
        if labels is not None and ((labels < 0) | (labels >= classes)).any():
            raise ValueError(f"labels must be from 0 to {classes - 1}, got {labels.min()} to {labels.max()}")

    def set_progress(self, fraction: float, seed: int = 0) -> None:
        """Anneal all SHFIN layers to where training stands, 0 to 1; the noise follows from `fraction` and `seed`."""
        anneal(self, fraction, seed)

    def no_weight_decay(self) -> set[str]:
        """Name the parameters that decay would pull to no meaning: scores and gates of frequencies."""
        return {name for name, _ in self.named_parameters() if name.rsplit(".", 1)[-1] in ("scores", "theta")}

    def chosen_frequencies(self) -> list[tuple[str, np.ndarray]]:
        """Return for each SHFIN layer a map of its patch's frequencies, zero in the middle, 1 for its K."""
        return chosen_frequencies(self)


def anneal(model: nn.Module, fraction: float, seed: int) -> None:
    """Anneal all SHFIN layers of a model to where training stands, 0 to 1, with noise of `fraction` and `seed`.

    To be called before every step; `overtone train` does. Where a model has no such layer, nothing happens.
    """
    generator = torch.Generator().manual_seed(hash((seed, round(fraction * 2**40))) % 2**63)
    for module in model.modules():
        if isinstance(module, PatchSpectrum):
            module.anneal(*schedule(fraction), generator)


def chosen_frequencies(model: nn.Module) -> list[tuple[str, np.ndarray]]:
    """Return for each SHFIN layer of a model a map of its patch's frequencies, zero in the middle, 1 for its K."""
    return [(name, m.chosen_map()) for name, m in model.named_modules() if isinstance(m, PatchSpectrum)]


def make_mixer(
    mixer: MixerName,
    dim: int,
    grid: tuple[int, int],
    patch: int | tuple[int, int],
    kept: int,
    rank: int,
    shift: bool = False,
) -> nn.Module:
    """Return a new mixer for maps of `grid` rows and columns of `dim` channels; all that follows is SHFIN's alone."""
    makers: dict[MixerName, Callable[[], nn.Module]] = {
        "shfin": lambda: SHFIN(dim, patch, kept, rank, shift=shift),
        "attention": lambda: Attention(dim, max(1, dim // HEAD)),
        "gfnet": lambda: GFNet(dim, grid),
        "afno": lambda: AFNO(dim),
        "fnet": lambda: FNet(dim),
        "conv": lambda: Convolution(dim),
    }
    return makers[mixer]()


def _block(config: ShfinConfig, stage: int, side: int, block: int) -> MixerBlock:
    dim, patch, kept, rank = config.dims[stage], config.patches[stage], config.kept[stage], config.rank
    shift, ratio = config.shift and block % 2 == 1, config.ratio
    if config.mixer == "shfin" and block < config.deep[stage]:
        return MixerBlock(DeepSHFIN(dim, patch, kept, rank, ratio, shift=shift), dim, 0, config.norm)
    if config.mixer == "shfin" and config.budget < 1:
        mixer: nn.Module = AdaptiveSHFIN(dim, patch, kept, rank, max(1.0, config.budget * kept), shift=shift)
    else:
        mixer = make_mixer(config.mixer, dim, (side, side), patch, kept, rank, shift)
    return MixerBlock(mixer, dim, ratio, config.norm)


AutoConfig.register(ShfinConfig.model_type, ShfinConfig)
AutoModelForImageClassification.register(ShfinConfig, ShfinForImageClassification)
