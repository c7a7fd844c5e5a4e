"""A linear classifier on the frozen features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from overtone.data import ImageSet
from overtone.farl.methods.settings import best, chosen, ours, published, share_right
from overtone.farl.methods.zero_shot import FrozenTower, columns
from overtone.models.backbone import Backbone

CANDIDATES = tuple(10.0**power for power in range(-2, 7))  # of C: CLIP sweeps six decades and more
STEPS = 1000


def logistic_regression(
    features: Float[Tensor, "rows width"],
    labels: Int[Tensor, " rows"],
    classes: int,
    C: float,
    start: Float[Tensor, "classes width_and_1"] | None = None,
) -> Float[Tensor, "classes width_and_1"]:
    """Return the minimum of C sum_i CE(W x_i + b, y_i) + |W|^2 / 2, with b in the last column, in float64.

    This is scikit-learn's objective, and its solver too: L-BFGS (Radford et al. 2021, A.3). It is convex, so a full
    batch and a line search find its one minimum; a training loop would only come near it.
    """
    x = torch.cat([features.double(), torch.ones(len(features), 1, dtype=torch.float64)], dim=1)
    theta = torch.zeros(classes, x.shape[1], dtype=torch.float64) if start is None else start.clone()
    theta.requires_grad_()
    solver = torch.optim.LBFGS(
        [theta],
        max_iter=STEPS,
        tolerance_grad=1e-8,
        tolerance_change=1e-14,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def objective() -> Tensor:
        solver.zero_grad()
        # divided by the weight of all rows, so that the tolerance means the same for every C
        loss = cross_entropy(x @ theta.T, labels) + theta[:, :-1].square().sum() / (2 * C * len(x))
        loss.backward()
        return loss

    solver.step(objective)  # type: ignore[arg-type]
    return theta.detach()


@dataclass
class LinearProbeFitted(FrozenTower):
    """A linear classifier that knows the classes it was fitted to and no others."""

    classes: tuple[str, ...]
    templates: tuple[str, ...]
    theta: Float[Tensor, "classes width_and_1"]
    settings: Mapping[str, str]
    open: bool = False

    def probabilities(
        self, features: Float[Tensor, "images features"], classes: Sequence[str], templates: Sequence[str]
    ) -> Float[Tensor, "images classes"]:
        """Return the softmax over `classes`, all of them ones it was fitted to; ValueError for any other."""
        unknown = [name for name in classes if name not in self.classes]
        if unknown:
            raise ValueError(f"a linear probe knows the classes it was fitted to alone: {unknown[0]!r} is none")
        theta = self.theta[columns(classes, self.classes)].to(features)
        return (features @ theta[:, :-1].T + theta[:, -1]).softmax(dim=-1)

    def mixed(self, share: float) -> "LinearProbeFitted":
        """Mix with the zero-shot classifier, whose weights are the scaled class embeddings (WiSE-FT, section 4)."""
        w = self.backbone.logit_scale * self.zero_shot_weights(self.classes, self.templates)
        zero_shot = torch.cat([w, torch.zeros(len(w), 1)], dim=1).to(self.theta)
        return replace(self, theta=(1 - share) * zero_shot + share * self.theta)


class LinearProbe:
    """Logistic regression on the frozen image features; it reads no class names."""

    name, source = "linear-probe", "Radford et al. 2021, arXiv 2103.00020, section 3.2"

    def fit(
        self,
        backbone: Backbone,
        train: ImageSet,
        validation: ImageSet | None,
        templates: Sequence[str],
        seed: int,
        device: str,
    ) -> LinearProbeFitted:
        """Fit, with C chosen on validation pictures, or 1 without any."""
        tower = FrozenTower(backbone.to(device), device)
        x, y, count = tower.encode(train), torch.tensor(train.labels), len(train.classes)
        if validation is None:
            C, theta, said = 1.0, logistic_regression(x, y, count, 1.0), ours(1, "no validation shots")
        else:
            held, truth = tower.encode(validation).double(), torch.tensor(validation.labels)
            C, theta = best(
                CANDIDATES,
                lambda C: logistic_regression(x, y, count, C),
                lambda theta: share_right(held @ theta[:, :-1].T + theta[:, -1], truth),
            )
            said = chosen(f"{C:g}")
        settings = {"C": said, "solver": published(f"L-BFGS, at most {STEPS} steps")}
        return LinearProbeFitted(backbone, device, train.classes, tuple(templates), theta, settings)
