"""SDE's enhancement of one modality's features in the basis of their running second moment."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from overtone.spectral.metrics import subspace_size
from overtone.spectral.second_moment import SecondMoment, take_shapes
from overtone.spectral.singular import noise_limits


class Enhancement(nn.Module):
    """F~ = F + F V (g - 1) V^T: gains g along the right singular vectors V, which take no gradient (reconstruction).

    It is U (S + D) V^T, D = S (g - 1), wherever V is F's own basis, without the gradient of an SVD. V comes from an
    exponentially weighted second moment: one batch's basis is unsteady. With alpha in [0, 1) and r_i = s_i / s_1,

    - strong: g_i = 1 + alpha r_i e_i, |e_i| <= 1;
    - weak: g_i = 1 - alpha (1 - r_i);
    - noise: g = 1 - alpha SNR / (1 + SNR), SNR the energy of strong and weak over that of noise (its meaning is ours).

    So |g_i - 1| <= alpha, and |F~ - F|_F <= alpha |F|_F for any features. As all noise has one gain, only the first
    directions of V are kept: all signal, and enough for the subspaces to be compared.
    """

    V: Tensor  # its first columns
    slope: Tensor  # (g - 1) / alpha along them, but for the e_i of the strong ones
    strong: Tensor  # which of them are
    noise_slope: Tensor  # (g - 1) / alpha everywhere else
    leading: Tensor  # share of the energy in the directions that are compared with the other modality's

    def __init__(self, decay: float, parts: tuple[str, ...]) -> None:
        super().__init__()
        self.parts = parts
        self.moment = SecondMoment(decay)
        self.register_buffer("V", torch.zeros(0, 0))
        self.register_buffer("slope", torch.zeros(0))
        self.register_buffer("strong", torch.zeros(0, dtype=torch.bool))
        self.register_buffer("noise_slope", torch.zeros(()))
        self.register_buffer("leading", torch.ones(()))
        self.register_load_state_dict_pre_hook(take_shapes)

    @torch.no_grad()
    def refresh(self) -> None:
        """Take basis, parts and slopes from the second moment as it stands."""
        values, V = self.moment.principal_basis()
        _, edge, fence = noise_limits(values, self.moment.samples, len(values))
        strong, signal = values > fence, values > edge
        tiny = torch.finfo(values.dtype).tiny
        r = values / values[0].clamp_min(tiny)
        energies = r.square() / r.square().sum().clamp_min(tiny)
        self.noise_slope = -(energies * signal).sum() * ("noise" in self.parts)
        slope = torch.where(strong, r * ("strong" in self.parts), (r - 1) * ("weak" in self.parts))
        self.leading = energies[: subspace_size(len(values))].sum()
        kept = kept_directions(int(signal.sum()), len(values))
        self.V, self.strong = V[:, :kept].contiguous(), strong[:kept]
        self.slope = torch.where(signal, slope, self.noise_slope)[:kept]

    def coordinates(
        self, features: Float[Tensor, "batch width"], others: Float[Tensor, "width k"]
    ) -> tuple[Float[Tensor, "batch kept"], Float[Tensor, "batch k"]]:
        """Return F V and the coordinates along some other directions, by one product.

        The columns of F V have the norms |F v_i|: the singular values, if V is the features' own basis.
        """
        own, other = (features @ torch.cat([self.V, others], 1).to(features)).tensor_split([self.V.shape[1]], dim=1)
        return own, other

    def forward(
        self,
        features: Float[Tensor, "batch width"],
        coordinates: Float[Tensor, "batch kept"],
        alpha: float,
        e: Float[Tensor, " width"],
    ) -> Float[Tensor, "batch width"]:
        """Return F~ of the features F and their coordinates F V; only the e_i of strong directions are used."""
        level = self.noise_slope.to(features)
        change = self.slope.to(features) * torch.where(self.strong.to(e.device), e[: len(self.strong)], 1) - level
        return torch.addmm((1 + alpha * level) * features, coordinates * (alpha * change), self.V.to(features).T)


def kept_directions(signal: int, width: int) -> int:
    """Return how many directions are kept: the signal's and the compared subspaces', up to the next multiple of 16.

    Matrix products by 95 columns took a third longer than by 96.
    """
    return min(width, -(-max(signal, subspace_size(width)) // 16) * 16)
