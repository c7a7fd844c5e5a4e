"""Representation tokens, and the two cross-attentions by which they read an image's structure and style."""

from collections.abc import Iterable
from typing import Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import layer_norm, linear, normalize

from overtone.farl.low_rank import SharedMaps

Injection = Literal["by_modality", "by_depth", "plain"]
INJECTIONS: dict[str, str] = {
    "by_modality": "enriched tokens into the text encoder, plain tokens into the image encoder (FARL's first author)",
    "by_depth": "structure tokens into deeper layers, style tokens into shallower ones (FARL's abstract, by the seed)",
    "plain": "no Fourier streams (MMRL, CVPR 2025)",
}


class RepresentationTokens(nn.Module):
    """Learnable tokens R (K, d_r), with a linear map into every layer that they enter (MMRL, arXiv 2503.08497).

    FARL (arXiv 2512.04395) lets R query the phase and the amplitude stream: S = MHA(R, Z_pha), T = MHA(R, Z_amp). The
    fusion R + W_S S + W_T T is ours; W_S and W_T start at zero, so that training starts from MMRL exactly. So are the
    layer norm of Z and the unit length of S and T: without them training diverges at the rates that few steps need.
    """

    def __init__(
        self,
        tokens: int,
        width: int,
        heads: int,
        image: tuple[int, int],
        text: tuple[int, int],
        injection: Injection,
        map_rank: int | None = None,
    ) -> None:
        """Take (width, layers) of the image and of the text tower; with `map_rank`, layers share a map (MMRL++)."""
        super().__init__()
        self.injection = injection
        self.R = nn.Parameter(0.02 * torch.randn(tokens, width))
        self.to_image, self.to_text = (_maps(width, out, layers, map_rank) for out, layers in (image, text))
        if injection == "plain":
            return
        self.query_structure = nn.MultiheadAttention(width, heads, kdim=image[0], vdim=image[0], batch_first=True)
        self.query_style = nn.MultiheadAttention(width, heads, kdim=image[0], vdim=image[0], batch_first=True)
        self.W_S, self.W_T = (nn.Linear(width, width, bias=False) for _ in range(2))
        nn.init.zeros_(self.W_S.weight)
        nn.init.zeros_(self.W_T.weight)

    def read(
        self, phase: Float[Tensor, "batch length image_width"], amplitude: Float[Tensor, "batch length image_width"]
    ) -> tuple[Float[Tensor, "batch K d_r"], Float[Tensor, "batch K d_r"]]:
        """Return structure tokens S, read from the phase stream, and style tokens T, read from the amplitude stream."""
        R, phase, amplitude = self.R.expand(len(phase), -1, -1), _unit_scale(phase), _unit_scale(amplitude)
        S, _ = self.query_structure(R, phase, phase, need_weights=False)
        T, _ = self.query_style(R, amplitude, amplitude, need_weights=False)
        return normalize(S, dim=-1), normalize(T, dim=-1)

    @torch.no_grad()
    def attention(
        self, phase: Float[Tensor, "batch length image_width"], amplitude: Float[Tensor, "batch length image_width"]
    ) -> tuple[Float[Tensor, "batch length"], Float[Tensor, "batch length"]]:
        """Return where the structure and the style tokens look, averaged over tokens and heads; each row sums to 1."""
        R, phase, amplitude = self.R.expand(len(phase), -1, -1), _unit_scale(phase), _unit_scale(amplitude)
        _, structure = self.query_structure(R, phase, phase)
        _, style = self.query_style(R, amplitude, amplitude)
        return structure.mean(1), style.mean(1)

    def for_image(self, streams: tuple[Tensor, Tensor] | None) -> list[Float[Tensor, "batch K image_width"]]:
        """Return the tokens that enter each layer of the image tower; `streams` are S and T of these very images."""
        if self.injection == "by_modality":
            streams = None
        return self._per_layer(self.to_image, streams)

    def for_text(self, streams: tuple[Tensor, Tensor] | None) -> list[Float[Tensor, "1 K text_width"]]:
        """Return the tokens that enter each layer of the text tower; `streams` are a mean S and T, (1, K, d_r) each."""
        return self._per_layer(self.to_text, streams)

    def _per_layer(self, maps: nn.Module, streams: tuple[Tensor, Tensor] | None) -> list[Tensor]:
        layers = _weights(maps)
        plain = [linear(self.R.unsqueeze(0), W, bias) for W, bias in layers]
        if streams is None or self.injection == "plain":
            return plain
        S, T = self.W_S(streams[0]), self.W_T(streams[1])
        shallow = len(layers) // 2
        read = (
            [S + T] * len(layers) if self.injection == "by_modality" else [T] * shallow + [S] * (len(layers) - shallow)
        )
        # into(R + x) as into(R) + W x: with x = 0 that is into(R) to the last bit, however many pictures x is for
        return [tokens + linear(x, W) for tokens, x, (W, _) in zip(plain, read, layers, strict=True)]


def _maps(width: int, out: int, layers: int, rank: int | None) -> nn.Module:
    if rank is not None:
        return SharedMaps(width, out, layers, rank)
    return nn.ModuleList(nn.Linear(width, out) for _ in range(layers))


def _weights(maps: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Return the weight and the bias of the map into each layer."""
    if isinstance(maps, SharedMaps):
        return maps.weights()
    return [(into.weight, into.bias) for into in cast(Iterable[nn.Linear], maps)]


def _unit_scale(Z: Float[Tensor, "batch length width"]) -> Float[Tensor, "batch length width"]:
    """Normalise each token: a pre-norm tower's residual stream grows with depth, and large keys diverge."""
    return layer_norm(Z, Z.shape[-1:])
