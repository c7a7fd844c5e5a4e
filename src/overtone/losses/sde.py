"""SDE: spectral disentanglement and enhancement, around a contrastive loss."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from overtone.losses.contrastive import InfoNCE, unit_pairs
from overtone.losses.enhancement import Enhancement
from overtone.spectral.metrics import hellinger_squared, subspace_size
from overtone.spectral.second_moment import sum_over_processes
from overtone.spectral.singular import safe_root

PARTS = ("strong", "weak", "noise")


@dataclass(frozen=True)
class SDEConfig:
    """SDE's settings; the paper gives no values, so that all of them are ours.

    A pair (first, last) is a schedule: it falls from first to last by half a cosine over `steps` calls, and stays.
    """

    mode: Literal["perturb", "amplify"] = "perturb"  # strong gains: random, or all up
    parts: tuple[str, ...] = PARTS  # what is enhanced
    alpha: tuple[float, float] = (0.05, 0.005)  # intensity of the enhancement, in [0, 1)
    lam: tuple[float, float] = (0.1, 0.01)  # lambda, weight of the spectral loss
    steps: int = 10_000
    hellinger: float = 1.0  # weight in the spectral loss
    subspace: float = 1.0  # weight in the spectral loss
    decay: float = 0.95  # of the second moments, a step
    refresh: int = 10  # steps between two looks for basis and parts
    seed: int = 0  # of the perturbation

    def __post_init__(self) -> None:
        """Raise ValueError for a setting out of range."""
        if self.mode not in ("perturb", "amplify"):
            raise ValueError(f"mode must be perturb or amplify, got {self.mode!r}")
        if not set(self.parts) <= set(PARTS):
            raise ValueError(f"parts must be some of {', '.join(PARTS)}, got {self.parts!r}")
        if not 0 <= self.alpha[1] <= self.alpha[0] < 1:
            raise ValueError(f"alpha must fall from a number below 1 to one not below 0, got {self.alpha}")
        if not 0 <= self.lam[1] <= self.lam[0] < math.inf:
            raise ValueError(f"lam must fall from a finite number to one not below 0, got {self.lam}")
        if min(self.steps, self.refresh) < 1:
            raise ValueError(f"steps and refresh must be 1 or more, got {self.steps} and {self.refresh}")
        if not (0 <= self.hellinger < math.inf and 0 <= self.subspace < math.inf):
            raise ValueError(f"hellinger and subspace must be 0 or more, got {self.hellinger} and {self.subspace}")


class SDE(nn.Module):
    """The contrastive loss `base` on enhanced features, plus lambda times a spectral loss (arXiv 2602.09066).

    L = base(F~_image, F~_text) + lambda(t) (H^2 + subspace), H the Hellinger distance of the singular values and the
    subspaces' deviation 1 minus the mean `Energies.ratio`. The paper's equations are not public: `Enhancement` and
    the two spectral terms are a reconstruction. Features are scaled to unit length first; the spectral loss takes them
    before enhancement (ours), since that is how the encoders will be used. The base takes features of any length and
    scales them itself, as `InfoNCE` and `SigLIP` do. In eval mode the loss is the base's alone.

    Every call in training mode is a step: it takes the features into the second moments and moves the schedules, both
    of which are in the state dict. Calls within `replay` are no steps. A step whose features are not finite returns
    NaN and leaves the second moments as they were.

    With `distributed`, the features are this process's share of a batch: second moments and spectral terms are those of
    the whole batch, gradients being averaged over processes as DistributedDataParallel does; only one width x width
    matrix a modality and a few vectors travel. A base that is `distributed` too takes its negatives from all processes:
    then the gradient is that of one process with the whole batch. Leave it off if the features were gathered already.
    """

    step: Tensor

    def __init__(
        self, base: nn.Module | None = None, config: SDEConfig | None = None, distributed: bool = False
    ) -> None:
        super().__init__()
        self.base = InfoNCE() if base is None else base
        self.config = SDEConfig() if config is None else config
        self.distributed = distributed
        self.image, self.text = (Enhancement(self.config.decay, self.config.parts) for _ in range(2))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.terms: dict[str, Tensor | float] = {}
        self._replaying = False

    def forward(
        self,
        image_features: Float[Tensor, "batch width"],
        text_features: Float[Tensor, "batch width"],
        logit_scale: float | Tensor,
        **base_arguments: Any,
    ) -> Float[Tensor, ""]:
        """Return the loss; `logit_scale` and further arguments (SigLIP's `logit_bias`) are the base's.

        In training mode, `terms` then holds what it was made of, for logs: base, hellinger (H^2), subspace, alpha, lam.
        Raises ValueError for features that are no pairs of equal width, or of another width than before.
        """
        if not self.training:
            return self.base(image_features, text_features, logit_scale, **base_arguments)
        x, y = unit_pairs(image_features, text_features)
        with torch.autocast(x.device.type, enabled=False):
            step = self._observe(x, y)
            alpha, lam = self.alpha(step), self.lam(step)
            k = subspace_size(x.shape[1])
            in_x, x_in_text = self.image.coordinates(x, self.text.V[:, :k])
            in_y, y_in_image = self.text.coordinates(y, self.image.V[:, :k])
            e = self._perturbation(step, x)
            enhanced = self.image(x, in_x, alpha, e[0]), self.text(y, in_y, alpha, e[1])
            base = self.base(*enhanced, logit_scale, **base_arguments)
            of_x = self._energies(self.image, x, in_x, x_in_text)
            of_y = self._energies(self.text, y, in_y, y_in_image)
            hellinger = hellinger_squared(of_x.singular_values(), of_y.singular_values())
            subspace = 1 - (of_x.ratio() + of_y.ratio()) / 2
            spectral = self.config.hellinger * hellinger + self.config.subspace * subspace
        terms = {"base": base, "hellinger": hellinger, "subspace": subspace}
        self.terms = {name: term.detach() for name, term in terms.items()} | {"alpha": alpha, "lam": lam}
        return base + lam * spectral

    def alpha(self, step: int) -> float:
        """Return the intensity of the enhancement at a step."""
        return _falling(*self.config.alpha, step / self.config.steps)

    def lam(self, step: int) -> float:
        """Return lambda, the weight of the spectral loss, at a step."""
        return _falling(*self.config.lam, step / self.config.steps)

    @contextmanager
    def replay(self) -> Iterator[None]:
        """Reuse the last step's basis, gains and weights: for further passes within one optimizer step."""
        self._replaying = True
        try:
            yield
        finally:
            self._replaying = False

    def _observe(self, x: Float[Tensor, "batch width"], y: Float[Tensor, "batch width"]) -> int:
        """Take the batch in, unless it is a replay, and return the number of the step, from 0."""
        step = int(self.step)
        if self._replaying and step:
            return step - 1
        for modality, features in ((self.image, x), (self.text, y)):
            modality.moment.update(features, self.distributed)
            if step % self.config.refresh == 0:
                modality.refresh()
        self.step = self.step + 1
        return step

    def _perturbation(self, step: int, x: Tensor) -> Float[Tensor, "2 width"]:
        """Return e of both modalities, in [-1, 1]: of seed and step alone, so equal in all processes and on resume."""
        if self.config.mode == "amplify":
            return x.new_ones(2, x.shape[1])
        generator = torch.Generator().manual_seed((self.config.seed * 1_000_003 + step) % 2**32)
        return (2 * torch.rand(2, x.shape[1], generator=generator) - 1).to(x)

    def _energies(
        self,
        modality: Enhancement,
        F: Float[Tensor, "batch width"],
        own: Float[Tensor, "batch kept"],
        other: Float[Tensor, "batch k"],
    ) -> "Energies":
        whole = F.detach().norm().square()  # of rows of unit length: a constant
        energies = torch.cat([own.square().sum(0), whole[None], other.square().sum()[None]])
        if self.distributed:
            energies = sum_over_processes(energies)
        return Energies(energies[:-2], energies[-2], energies[-1], modality.leading.to(energies), F.shape[1])


@dataclass(frozen=True, eq=False)
class Energies:
    """The energy of a modality's features: along its basis' kept directions, in all, and in the other's first k."""

    kept: Float[Tensor, " kept"]
    whole: Float[Tensor, ""]
    crossed: Float[Tensor, ""]
    leading: Float[Tensor, ""]  # share of the running energy in the first k directions
    width: int

    def singular_values(self) -> Float[Tensor, " width"]:
        """Return |F v_i| along the kept directions, then the root mean square of the rest for each of them (ours).

        The first are the batch's own where V is its basis, with the gradient u_i v_i^T, and less spread by the batch's
        size elsewhere. The rest is noise: one level stands for it, and no basis of it is needed.
        """
        rest = self.width - len(self.kept)
        level = (self.whole - self.kept.sum()) / max(rest, 1)
        return safe_root(torch.cat([self.kept, level.expand(rest)]))

    def ratio(self) -> Float[Tensor, ""]:
        """Return the energy in the other modality's first k directions over that in its own (ours), at most 1.

        It is 1 where the subspaces are one. The own energy is the running one: features that leave a basis some steps
        old would lower the batch's, and be rewarded without end.
        """
        own = (self.leading * self.whole).clamp_min(torch.finfo(self.kept.dtype).eps)
        return (self.crossed / own).clamp_max(1)


def _falling(first: float, last: float, progress: float) -> float:
    """Return what half a cosine from first to last has come to; `progress` beyond 1 is the end."""
    return last + (first - last) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2
