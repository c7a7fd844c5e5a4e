"""SHFIN with a gate: its equation against numpy, what it is with the gates open, and padding."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from overtone.nn import GatedSHFIN

ROUNDING = 1e-10  # float64 through two transforms and four products
DIM, PATCH, BLOCKS = 6, 8, 2


def gated() -> GatedSHFIN:
    """One of random weights, large enough that the thresholds leave something."""
    torch.manual_seed(0)
    made = GatedSHFIN(DIM, PATCH, 3, BLOCKS, axes=1).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_()
    return made.eval()


def number(parameter: torch.Tensor) -> NDArray:
    return parameter.detach().numpy()


def logistic(x: NDArray) -> NDArray:
    return 1 / (1 + np.exp(-x))


def relu(z: NDArray) -> NDArray:
    return np.maximum(z.real, 0) + 1j * np.maximum(z.imag, 0)


def shrunk(z: NDArray) -> NDArray:
    parts = [np.sign(part) * np.maximum(np.abs(part) - 0.01, 0) for part in (z.real, z.imag)]
    return parts[0] + 1j * parts[1]


def by_fft(made: GatedSHFIN, x: NDArray) -> NDArray:
    """y = (sigmoid(X W_g + b) * irfft(M)) W_o of one sentence, frequency by frequency, block by block."""
    W1, W2, b1, b2 = (
        number(p[..., 0]) + 1j * number(p[..., 1])
        for p in (made.layers.W1, made.layers.W2, made.layers.b1, made.layers.b2)
    )
    mixed = np.zeros_like(x)
    for start in range(0, len(x), PATCH):
        Z = np.fft.rfft(x[start : start + PATCH], axis=0, norm="ortho")
        M = np.zeros_like(Z)
        for f in made.chosen[:, 0].tolist():
            blocks = [shrunk(relu(z @ W1[k] + b1[k]) @ W2[k] + b2[k]) for k, z in enumerate(Z[f].reshape(BLOCKS, -1))]
            M[f] = logistic(number(made.theta)[f]) * np.concatenate(blocks)
        mixed[start : start + PATCH] = np.fft.irfft(M, PATCH, axis=0, norm="ortho")
    gate = logistic(x @ number(made.gate.weight).T + number(made.gate.bias))
    return (gate * mixed) @ number(made.out.weight).T


def test_it_is_the_equation() -> None:
    made, x = gated(), torch.randn(2, 2 * PATCH, DIM, dtype=torch.float64)
    expected = np.stack([by_fft(made, sentence) for sentence in x.numpy()])
    torch.testing.assert_close(made(x), torch.from_numpy(expected), atol=ROUNDING, rtol=0)


def test_gradcheck() -> None:
    x = torch.randn(1, PATCH, DIM, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(gated(), x)


def test_its_choice_of_frequencies_is_learned() -> None:
    made = gated().train()
    made(torch.randn(2, PATCH, DIM, dtype=torch.float64)).square().sum().backward()
    for parameter in made.parameters():
        assert parameter.grad is not None
        assert parameter.grad.any()


@pytest.mark.parametrize("held", [1.0, math.nan])
def test_padding_counts_as_zero_and_stays_zero(held: float) -> None:
    """In gradients too."""
    made, mask = gated(), torch.arange(2 * PATCH) < 11
    x = torch.randn(1, 2 * PATCH, DIM, dtype=torch.float64)
    mixed = made(x.masked_fill(~mask[:, None], held), mask[None])
    assert not mixed[:, 11:].any()
    torch.testing.assert_close(mixed[:, :11], made(x[:, :11]), atol=ROUNDING, rtol=0)
    mixed.sum().backward()
    for parameter in made.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()


def test_refuses_another_shape() -> None:
    with pytest.raises(ValueError, match=r"x must be \(batch, axis 1, dim = 6\), got \(2, 8, 5\)"):
        gated()(torch.zeros(2, PATCH, 5, dtype=torch.float64))
    with pytest.raises(ValueError, match="dim must be a multiple of blocks, got dim=6 and blocks=4"):
        GatedSHFIN(6, PATCH, 3, 4)


def test_bfloat16_stays_near_float32() -> None:
    made, x = gated().float(), torch.randn(2, 2 * PATCH, DIM)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = made(x)
    assert (mixed - made(x)).norm() < 2e-2 * made(x).norm()  # eight bits of mantissa, through six products
