"""How parts of a signal are learned, against networks whose training is known in closed form."""

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from overtone.nn import FourierFeatures, grid
from overtone.ntk import learn_components, relu_network

STEPS = (0, 1, 5, 40, 200)


def sines(n: int, frequencies: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    x = grid(n, dtype=torch.float64)
    return x, torch.sin(2 * math.pi * x * torch.tensor(frequencies))


def test_a_linear_model_on_fourier_features_learns_each_sine_at_its_own_rate() -> None:
    """Its kernel's eigenvectors are the sines, with eigenvalues n a^2 / 2: gradient descent is (1 - l / l_1)^t."""
    x, parts = sines(32, (1, 2, 4))
    module = nn.Sequential(FourierFeatures.lattice(1, order=4, power=1), nn.Linear(8, 1, bias=False)).double()
    nn.init.zeros_(module[1].weight)
    learning = learn_components(module, x, parts, STEPS)
    relative = torch.tensor([1.0, 1 / 4, 1 / 16], dtype=torch.float64)  # a_j = 1 / j
    t = torch.tensor(STEPS, dtype=torch.float64)[:, None]
    assert_close(learning.observed, 1 - (1 - relative) ** t, atol=1e-6, rtol=0)  # frequencies are drawn in float32
    assert_close(learning.predicted, 1 - torch.exp(-relative * t), atol=1e-6, rtol=0)
    assert_close(learning.eigenvalues[[0, 2, 6]], 16 * relative, atol=1e-5, rtol=0)


def test_a_wide_network_is_observed_to_learn_as_predicted_low_frequencies_first() -> None:
    torch.manual_seed(0)
    x, parts = sines(32, (1, 4))
    module = relu_network(1, 4096, 2, bias_scale=1.0).double()
    learning = learn_components(module, x, parts, (0, 20, 100))
    # The kernel of a network of this width moves by a few percent in training
    assert_close(learning.predicted, learning.observed, atol=0.1, rtol=0)
    assert learning.observed[-1, 0] > learning.observed[-1, 1] + 0.2


def test_what_it_refuses() -> None:
    x, parts = sines(16, (1, 2))
    module = relu_network(1, 8, 1).double()
    with pytest.raises(ValueError, match="orthogonal"):
        learn_components(module, x, torch.stack([parts[:, 0], parts.sum(1)], 1), (0, 1))
    with pytest.raises(ValueError, match=r"rise from 0 or more, got \[3, 1\]"):
        learn_components(module, x, parts, (3, 1))
