"""Pairs of features that losses must stand, and a pair of encoders to train."""

import torch
from torch import nn


def drawn(samples, width, seed=0, dtype=torch.float32):
    """Independent normal entries."""
    return torch.randn(samples, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def pairs(samples=48, width=24, seed=0, dtype=torch.float32):
    """Image and text features with a mean, five directions in common, of which two are weak, and noise."""
    shared = drawn(samples, 5, seed, torch.float64) * torch.tensor([4.0, 3.0, 2.0, 0.8, 0.7], dtype=torch.float64)
    directions = torch.linalg.qr(drawn(width, 5, 99, torch.float64))[0].T
    return tuple(
        (shared @ directions + 0.3 * drawn(samples, width, seed + i, torch.float64) + 0.2 * i).to(dtype) for i in (1, 2)
    )


DEGENERATE = {
    "zero": torch.zeros(6, 8),
    "constant": drawn(1, 8).expand(6, 8).contiguous(),
    "duplicated": drawn(3, 8).repeat(2, 1),
    "rank one": drawn(6, 1) @ drawn(1, 8),
    "a value repeated": torch.eye(8)[:6],
    "fewer samples than dimensions": drawn(3, 8),
    "one sample": drawn(1, 8),
    "one dimension": drawn(6, 1),
}


class Encoders(nn.Module):
    """A linear map for images and one for texts."""

    def __init__(self, width=8):
        super().__init__()
        torch.manual_seed(0)
        self.image, self.text = (nn.Linear(12, width, bias=False) for _ in range(2))
        self.logit_scale = nn.Parameter(torch.tensor(10.0).log())

    def forward(self, images, texts):
        return self.image(images), self.text(texts), self.logit_scale.exp()
