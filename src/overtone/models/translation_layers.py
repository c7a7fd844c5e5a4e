"""What stands in the place of Marian's attention: mixers of a sentence's positions, and spectra to attend to."""

from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import pad

from overtone.nn.gated import GatedSHFIN
from overtone.nn.mixers import AFNO, FNet
from overtone.nn.shfin import SHFIN

TextMixerName = Literal["shfin", "attention", "fnet", "afno"]
TEXT_MIXERS: tuple[TextMixerName, ...] = ("shfin", "attention", "fnet", "afno")


class InPlaceOfAttention(nn.Module):
    """A mixer where Marian's encoder layer has self-attention; it takes the padding as `real`."""

    def __init__(self, mixer: nn.Module) -> None:
        super().__init__()
        self.mixer = mixer

    def forward(
        self,
        hidden_states: Float[Tensor, "batch length dim"],
        attention_mask: None = None,
        real: Bool[Tensor, "batch length"] | None = None,
        **unused: Any,
    ) -> tuple[Float[Tensor, "batch length dim"], None]:
        """Return the mixed positions, and None for the attention weights that there are not."""
        return self.mixer(hidden_states, real), None


class OwnLength(nn.Module):
    """FNet or AFNO over the own length of each sentence, whose frequencies would else follow from the longest's.

    Sentences of one length pass together. Padding is on the right; it stays zero.
    """

    def __init__(self, mixer: FNet | AFNO) -> None:
        super().__init__()
        self.mixer = mixer

    def forward(
        self, x: Float[Tensor, "batch length dim"], real: Bool[Tensor, "batch length"] | None = None
    ) -> Float[Tensor, "batch length dim"]:
        """Mix the positions that are `real`."""
        if real is None:
            return self.mixer(x)
        lengths, mixed = real.sum(1), torch.zeros_like(x)
        for n in lengths.unique().tolist():
            if n:
                rows = (lengths == n).nonzero()[:, 0]
                mixed[rows, :n] = self.mixer(x[rows, :n])
        return mixed


class SpectralMemory(SHFIN):
    """What a decoder attends to instead of a sentence's positions: the K kept coefficients of each of its patches.

    SHFIN without its inverse transform: a row for each patch and kept frequency f, of the coefficient Z_f and what
    SHFIN's gated mixer makes of all K,

        LayerNorm([Re, Im](Z + M)_f W + e_f)

    where e_f says which frequency it is. For patches of s positions the decoder's keys, values and scores are K / s as
    many. The seed's abstract speaks of SHFIN cross-attention and defines none: this one is ours. It transforms the
    source alone, so no target position sees a later one.
    """

    def __init__(self, dim: int, patch: int, kept: int, rank: int) -> None:
        """Take SHFIN's arguments."""
        super().__init__(dim, patch, kept, rank, axes=1)
        self.read = nn.Linear(2 * dim, dim)
        self.which = nn.Embedding(len(self.f), dim)
        self.norm = nn.LayerNorm(dim)

    def forward(
        self, x: Float[Tensor, "batch length dim"], real: Bool[Tensor, "batch length"] | None = None
    ) -> Float[Tensor, "batch rows dim"]:
        """Return the rows of all patches; positions that are not `real` count as zero."""
        rows, Z = self.analyse(x, real)
        Z = Z + self.mix(Z, self.theta[rows])
        parts = Z.reshape(x.shape[0], *self._counts(x.shape[1:-1]), self.kept, 2 * self.dim)
        return self.norm(self.read(parts) + self.which(rows)).flatten(1, 2)

    def rows(self, length: int) -> int:
        """Return how many rows a sentence of so many positions has."""
        return -(-length // self.patch[0]) * self.kept

    def real_rows(self, real: Bool[Tensor, "batch length"]) -> Bool[Tensor, "batch rows"]:
        """Return which rows are of patches that are not all padding."""
        s = self.patch[0]
        patches = pad(real, [0, -real.shape[1] % s]).unflatten(1, (-1, s)).any(-1)
        return patches.repeat_interleave(self.kept, dim=1)


def text_mixer(mixer: TextMixerName, dim: int, patch: int, kept: int, rank: int, gated: bool, shift: bool) -> nn.Module:
    """Return a new mixer of a sentence's positions, but attention, which is Marian's own; `patch` on is SHFIN's."""
    if mixer == "shfin":
        if gated:
            return GatedSHFIN(dim, patch, kept, axes=1, shift=shift)
        return SHFIN(dim, patch, kept, rank, axes=1, shift=shift)
    return OwnLength(FNet(dim) if mixer == "fnet" else AFNO(dim))
