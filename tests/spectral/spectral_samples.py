"""Features that singular spectra must stand: drawn ones, and ones with nothing to divide by."""

import torch


def drawn(samples, width, seed=0, dtype=torch.float32):
    """Independent normal entries."""
    return torch.randn(samples, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def orthogonal(width, seed=0):
    """An orthogonal matrix in float64."""
    return torch.linalg.qr(drawn(width, width, seed, torch.float64))[0]


def planted(samples, width, strengths, seed=0):
    """Noise of deviation 1 beside directions with these singular values."""
    rank = len(strengths)
    U = torch.linalg.qr(drawn(samples, rank, seed + 1, torch.float64))[0]
    V = torch.linalg.qr(drawn(width, rank, seed + 2, torch.float64))[0]
    return (drawn(samples, width, seed, torch.float64) + (U * torch.tensor(strengths).double()) @ V.T).float()


DEGENERATE = {
    "zero": torch.zeros(6, 8),
    "constant": drawn(1, 8).expand(6, 8).contiguous(),
    "duplicated": drawn(3, 8).repeat(2, 1),
    "rank one": drawn(6, 1) @ drawn(1, 8),
    "a value repeated": torch.eye(8)[:6],
    "one column alone": torch.eye(8)[:1].repeat(6, 1),
    "fewer samples than dimensions": drawn(3, 8),
    "one sample": drawn(1, 8),
    "one dimension": drawn(6, 1),
    "one entry": drawn(1, 1),
}
