"""The two contrastive losses that image-text models are trained with, over the pairs of one batch.

Row i of the image features and row i of the text features belong together; all other rows are negatives. With
`distributed`, the rows are this process's share of a batch, as many as every other's, and the negatives are those of
all processes: each computes the loss of its own rows among all, the loss of the batch is the mean over the processes,
and so are its gradients, as DistributedDataParallel takes it. Without, the negatives are this process's own.

Features are scaled to unit length here, so that they may come scaled or not. Everything is computed in float32 (float64
stays float64), whatever the features' precision or the autocast: bfloat16 leaves two digits of a logit of 100.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import cross_entropy, logsigmoid, pad

from overtone.losses.gathering import first_row, gathered
from overtone.spectral.singular import in_single


class InfoNCE(nn.Module):
    """Find the text of each image, and the image of each text, in the batch (Radford et al. 2021, CLIP, figure 3).

    The mean of -log softmax(t x_i.y)_i over the texts y and of the same over the images, t = `logit_scale`.
    """

    def __init__(self, distributed: bool = False) -> None:
        super().__init__()
        self.distributed = distributed

    def forward(
        self,
        image_features: Float[Tensor, "batch width"],
        text_features: Float[Tensor, "batch width"],
        logit_scale: float | Tensor,
        logit_bias: float | Tensor | None = None,
    ) -> Float[Tensor, ""]:
        """Return the loss; `logit_scale` is the factor of the cosines, 1 / temperature, not its logarithm.

        A `logit_bias`, which models made for SigLIP hand over too, changes nothing: it is the same in all logits, and a
        softmax does not see it. Raises ValueError for features that are no pairs of equal width.
        """
        x, y = unit_pairs(image_features, text_features)
        labels = torch.arange(len(x), device=x.device)
        if not self.distributed:
            logits = cosines(x, y, logit_scale)
            return (cross_entropy(logits, labels) + cross_entropy(logits.T, labels)) / 2
        labels = labels + first_row(len(x))
        of_images, of_texts = cosines(x, gathered(y), logit_scale), cosines(y, gathered(x), logit_scale)
        return (cross_entropy(of_images, labels) + cross_entropy(of_texts, labels)) / 2


class SigLIP(nn.Module):
    """Tell of every image and every text, alone, whether they belong together (Zhai et al. 2023, algorithm 1).

    -1/n sum_ij log sigmoid(z_ij (t x_i.y_j + b)) with z_ii = 1 and z_ij = -1 elsewhere, t = `logit_scale` and b =
    `logit_bias`.
    """

    def __init__(self, distributed: bool = False) -> None:
        super().__init__()
        self.distributed = distributed

    def forward(
        self,
        image_features: Float[Tensor, "batch width"],
        text_features: Float[Tensor, "batch width"],
        logit_scale: float | Tensor,
        logit_bias: float | Tensor = -10.0,
    ) -> Float[Tensor, ""]:
        """Return the loss; `logit_scale` is the factor of the cosines, not its logarithm.

        `logit_bias` stands against the many negatives; it is learned, from SigLIP's -10. Raises ValueError for features
        that are no pairs of equal width.
        """
        x, y = unit_pairs(image_features, text_features)
        z = 2 * torch.eye(len(x), dtype=x.dtype, device=x.device) - 1
        if self.distributed:
            y = gathered(y)
            first = first_row(len(x))
            z = pad(z, [first, len(y) - len(x) - first], value=-1)
        logits = cosines(x, y, logit_scale) + logit_bias
        return -logsigmoid(z * logits).sum(1).mean()


def cosines(
    x: Float[Tensor, "batch width"], y: Float[Tensor, "others width"], scale: float | Tensor
) -> Float[Tensor, "batch others"]:
    """Return the scaled inner product of every row of `x`, of unit length, with every row of `y`."""
    with torch.autocast(x.device.type, enabled=False):
        return scale * x @ y.T


def unit_pairs(
    image_features: Float[Tensor, "batch width"], text_features: Float[Tensor, "batch width"]
) -> tuple[Float[Tensor, "batch width"], Float[Tensor, "batch width"]]:
    """Return both in float32 at least and of unit length; raise ValueError if they are no pairs of equal width."""
    shapes = tuple(image_features.shape), tuple(text_features.shape)
    if len(shapes[0]) != 2 or shapes[0] != shapes[1] or not shapes[0][0]:
        raise ValueError(
            "image_features and text_features must be two matrices (batch, width) of one shape, "
            f"got {shapes[0]} and {shapes[1]}"
        )
    return unit_rows(in_single(image_features)), unit_rows(in_single(text_features))


class _UnitRows(torch.autograd.Function):
    """x / |x| a row, with the gradient (g - u (u.g)) / |x|, in half the passes over memory that autograd takes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        lengths = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        inverse = torch.where(lengths > torch.finfo(x.dtype).tiny, 1 / lengths, 0)
        u = x * inverse
        ctx.save_for_backward(u, inverse)
        return u

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        u, inverse = ctx.saved_tensors
        along = (gradient * u).sum(1, keepdim=True)
        return torch.addcmul(gradient, u, along, value=-1).mul_(inverse)


def unit_rows(x: Float[Tensor, "batch width"]) -> Float[Tensor, "batch width"]:
    """Return the rows divided by their lengths; rows of zeros stay, and take no gradient: they have no direction."""
    return _UnitRows.apply(x)
