"""Coordinate networks: a signal held by a small network, that any position can be asked of."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel

from overtone.nn import FourierFeatures

EncodingName = Literal["none", "basic", "positional", "gaussian"]
ENCODINGS: tuple[EncodingName, ...] = get_args(EncodingName)
ROWS = 2**14  # positions that go through the network at a time: 16 MiB a layer of 256


class CoordinateConfig(PreTrainedConfig):
    """What a network takes, how it sees it, and in which units; the default is the published one for pictures.

    Tancik et al. 2020, arXiv 2006.10739, section 6; there, of 256 features.
    """

    model_type = "overtone-coordinate"

    def __init__(
        self,
        dims: int = 2,
        channels: int = 3,
        encoding: EncodingName = "gaussian",
        features: int = 128,
        bandwidth: float = 10.0,
        width: int = 256,
        depth: int = 3,
        squash: bool = True,
        low: float = 0.0,
        high: float = 1.0,
        origin: Sequence[float] | None = None,
        extent: Sequence[float] | None = None,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        """Take the axes of positions, the channels of values, the encoding, and the sizes of the layers.

        - `encoding`: none (positions as they are), basic, positional or gaussian, as in `overtone.nn.FourierFeatures`.
        - `features`: frequencies of the encoding, over all axes; basic has one an axis whatever this says.
        - `bandwidth`: in cycles over the extent of an axis: the deviation of gaussian frequencies, drawn under `seed`,
          and the highest of positional ones.
        - `squash`: whether a sigmoid keeps values between `low` and `high`; without, these are the unit alone.
        - `origin` and `extent`, for each axis: where positions begin and how far they reach; 0 and 1 where None.

        Raises ValueError for what is out of range.
        """
        if not 1 <= dims <= 3:
            raise ValueError(f"dims must be 1 to 3, got {dims}")
        if encoding not in ENCODINGS:
            raise ValueError(f"encoding must be one of {', '.join(ENCODINGS)}, got {encoding!r}")
        for name, count in {"channels": channels, "features": features, "width": width}.items():
            if count < 1:
                raise ValueError(f"{name} must be 1 or more, got {count}")
        if depth < 0:
            raise ValueError(f"depth is a number of hidden layers, 0 or more, got {depth}")
        if not low < high:
            raise ValueError(f"low must be below high, got {low} and {high}")
        self.dims, self.channels = dims, channels
        self.encoding, self.features, self.bandwidth, self.seed = encoding, features, bandwidth, seed
        self.width, self.depth, self.squash = width, depth, squash
        self.low, self.high = low, high
        self.origin = [0.0] * dims if origin is None else list(origin)
        self.extent = [1.0] * dims if extent is None else list(extent)
        if not len(self.origin) == len(self.extent) == dims or min(self.extent) <= 0:
            raise ValueError(f"origin and extent (above 0) are for each of {dims} axes, got {origin} and {extent}")
        super().__init__(**kwargs)


FREQUENCIES = ["frequencies"]  # rounded to half precision they would be other ones


class CoordinateNetwork(PreTrainedModel):
    """A ReLU network on Fourier features of a position, whose output is the signal's value there.

    The signal's axes span one unit each: a grid of n samples has them at (i + 1/2) / n, as `overtone.nn.grid`.
    """

    config_class = CoordinateConfig
    _keep_in_fp32_modules_strict = FREQUENCIES
    config: CoordinateConfig
    base_model_prefix = "coordinate"
    main_input_name = "positions"

    def __init__(self, config: CoordinateConfig) -> None:
        super().__init__(config)
        self.encoding = _encoding(config)
        first = config.dims if self.encoding is None else self.encoding.out_dim
        widths = [first, *[config.width] * config.depth, config.channels]
        layers = [part for before, after in pairwise(widths) for part in (nn.Linear(before, after), nn.ReLU())]
        self.layers = nn.Sequential(*layers[:-1], nn.Sigmoid() if config.squash else nn.Identity())
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Draw the layers as torch does: transformers' own, smaller ones would start too slowly."""
        if isinstance(module, nn.Linear):
            module.reset_parameters()

    def forward(self, positions: Float[Tensor, "*batch dims"]) -> Float[Tensor, "*batch channels"]:
        """Return the signal's values at `positions`, both in its own units.

        Give positions in float64 where an axis has more than some 10,000 samples: the phases of float32 ones would be
        off. Raises ValueError for positions of another number of axes or of integers.
        """
        if positions.shape[-1:] != (self.config.dims,) or not positions.is_floating_point():
            raise ValueError(
                f"positions are floating-point (..., {self.config.dims}), "
                f"not {positions.dtype} {tuple(positions.shape)}"
            )
        origin, extent = positions.new_tensor(self.config.origin), positions.new_tensor(self.config.extent)
        return self._values((positions - origin) / extent)

    def features(self, v: Float[Tensor, "*batch dims"]) -> Float[Tensor, "*batch features"]:
        """Return what the first layer sees of positions from 0 to 1 along each axis."""
        return (v if self.encoding is None else self.encoding(v)).to(self.dtype)

    @torch.no_grad()
    def render(self, *sizes: int) -> Float[Tensor, "*sizes channels"]:
        """Return the values at the centres of a grid of any size over the signal's extent, made in parts.

        Raises ValueError for another number of axes, or a size below 1.
        """
        if len(sizes) != self.config.dims or min(sizes) < 1:
            raise ValueError(f"the grid has one size, 1 or more, for each of {self.config.dims} axes, not {sizes}")
        values = torch.empty(math.prod(sizes), self.config.channels, dtype=self.dtype)
        for start in range(0, len(values), ROWS):
            index = torch.arange(start, min(start + ROWS, len(values)))
            values[index] = self._values(on_device(centres(index, sizes), self.device)).cpu()
        return values.view(*sizes, self.config.channels)

    def _values(self, v: Tensor) -> Tensor:
        return self.config.low + (self.config.high - self.config.low) * self.layers(self.features(v))


def centres(index: Int[Tensor, " n"], sizes: Sequence[int]) -> Float[Tensor, "n d"]:
    """Return, in float64, the centres in [0, 1)^d of a grid's cells by their number, the last axis fastest."""
    cells = torch.unravel_index(index, tuple(sizes))
    return torch.stack([(cell.double() + 0.5) / size for cell, size in zip(cells, sizes, strict=True)], dim=-1)


def on_device(v: Float[Tensor, "..."], device: torch.device) -> Float[Tensor, "..."]:
    """Return positions there, in the precision that they have, or that the device has: mps lacks float64."""
    return (v.float() if device.type == "mps" else v).to(device)


def _encoding(config: CoordinateConfig) -> FourierFeatures | None:
    """Return the encoding; None stands for positions as they are."""
    kinds = {
        "none": lambda: None,
        "basic": lambda: FourierFeatures.basic(config.dims),
        "positional": lambda: FourierFeatures.positional(
            config.dims, max(1, config.features // config.dims), config.bandwidth
        ),
        "gaussian": lambda: FourierFeatures.random(config.dims, config.features, config.bandwidth, seed=config.seed),
    }
    return kinds[config.encoding]()


AutoConfig.register(CoordinateConfig.model_type, CoordinateConfig)
AutoModel.register(CoordinateConfig, CoordinateNetwork)
