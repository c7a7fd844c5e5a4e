"""Coordinate networks: the function they compute, save and load, rendering, and what they refuse."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close
from transformers import AutoConfig, AutoModel

from overtone.models import CoordinateConfig, CoordinateNetwork, coordinate
from overtone.models.coordinate import ENCODINGS, centres
from overtone.nn import FourierFeatures, grid
from overtone.ntk import empirical


def little(**changes: Any) -> CoordinateNetwork:
    torch.manual_seed(0)
    sizes = {"features": 6, "width": 8, "depth": 2, "bandwidth": 3.0}
    return CoordinateNetwork(CoordinateConfig(**(sizes | changes))).eval()


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("squash", [True, False])
def test_it_is_the_network_of_its_equation(encoding: str, squash: bool) -> None:
    """Positions to the unit box, Fourier features, ReLU layers, sigmoid, range; in numpy, float64."""
    network = little(encoding=encoding, squash=squash, low=-2.0, high=3.0, origin=[1.0, -4.0], extent=[2.0, 0.5])
    x = torch.rand(7, 2, dtype=torch.float64)
    v = (x.numpy() - [1.0, -4.0]) / [2.0, 0.5]
    if encoding != "none":
        assert network.encoding is not None
        phases = 2 * np.pi * v @ network.encoding.frequencies.double().numpy().T
        v = np.concatenate([np.cos(phases), np.sin(phases)], 1)
    layers = [layer for layer in network.layers if isinstance(layer, torch.nn.Linear)]
    assert len(layers) == 3
    for place, layer in enumerate(layers):
        v = v @ layer.weight.detach().double().numpy().T + layer.bias.detach().double().numpy()
        v = np.maximum(v, 0) if place < 2 else v
    v = 1 / (1 + np.exp(-v)) if squash else v
    # float32 layers: some 1e-7 of values of up to 5, through three of them
    np.testing.assert_allclose(network(x).detach().numpy(), -2 + 5 * v, atol=1e-5)


def test_frequencies_of_each_encoding() -> None:
    found = {encoding: little(encoding=encoding, bandwidth=8.0, seed=3).encoding for encoding in ENCODINGS}
    assert found["none"] is None
    assert_close(found["basic"].frequencies, torch.eye(2))
    assert_close(found["positional"].frequencies.amax(0), torch.tensor([8.0, 8.0]))
    assert len(found["positional"].frequencies) == 6
    assert torch.equal(found["gaussian"].frequencies, FourierFeatures.random(2, 6, 8.0, seed=3).frequencies)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_is_saved_comes_back(encoding: str, tmp_path: Path) -> None:
    network = little(encoding=encoding, dims=3, channels=2, squash=False, low=-1.0, extent=[2.0, 3.0, 4.0], seed=5)
    network.save_pretrained(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"config.json", "model.safetensors"}
    again, automatic = CoordinateNetwork.from_pretrained(tmp_path), AutoModel.from_pretrained(tmp_path)
    assert isinstance(AutoConfig.from_pretrained(tmp_path), CoordinateConfig)
    assert type(automatic) is CoordinateNetwork
    x = torch.rand(5, 3)
    assert torch.equal(again(x), network(x))
    assert torch.equal(automatic.render(2, 3, 4), network.render(2, 3, 4))


def test_the_published_size_is_a_few_hundred_kilobytes(tmp_path: Path) -> None:
    CoordinateNetwork(CoordinateConfig()).save_pretrained(tmp_path)
    assert 4e5 < (tmp_path / "model.safetensors").stat().st_size < 8e5


@pytest.mark.parametrize("sizes", [(1,), (5,), (3, 7), (2, 3, 4)])
def test_centres_are_those_of_the_grid(sizes: tuple[int, ...]) -> None:
    cells = torch.arange(int(np.prod(sizes)))
    assert torch.equal(centres(cells, sizes), grid(*sizes, dtype=torch.float64))


def test_rendering_asks_at_the_centres_in_parts_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    network = little(origin=[2.0, 3.0], extent=[4.0, 5.0])
    asked = []
    values_of = CoordinateNetwork._values
    monkeypatch.setattr(CoordinateNetwork, "_values", lambda self, v: asked.append(len(v)) or values_of(self, v))
    monkeypatch.setattr(coordinate, "ROWS", 10)
    values = network.render(6, 7)
    assert asked == [10, 10, 10, 10, 2]
    x = grid(6, 7, dtype=torch.float64) * torch.tensor([4.0, 5.0]) + torch.tensor([2.0, 3.0])
    # Moved into the unit and back: the same up to rounding
    assert_close(values, network(x).view(6, 7, 3), atol=1e-6, rtol=0)


def test_a_finer_rendering_goes_through_the_coarser_one() -> None:
    """The middle one of three cells has the centre of the one that they make up."""
    network = little(encoding="basic", dims=1)
    assert_close(network.render(12)[1::3], network.render(4), atol=1e-6, rtol=0)


def test_positions_of_float64_keep_the_phases_of_long_signals() -> None:
    """A million samples and 20,000 turns: float32 positions would be off by more than a hundredth of a turn."""
    network = little(dims=1, bandwidth=20_000.0)
    x = centres(torch.arange(999_000, 999_010), (1_000_000,))
    assert network.encoding is not None
    exact = network.encoding(x)
    assert_close(network.features(x).double(), exact, atol=1e-7, rtol=0)
    assert (network.features(x.float()) - exact).abs().max() > 1e-3


def test_half_precision_leaves_the_frequencies_as_they_are(tmp_path: Path) -> None:
    """Rounded to bfloat16 they would be other ones, whichever way the network comes to it."""
    network = little(bandwidth=17.3)
    assert network.encoding is not None
    network.save_pretrained(tmp_path / "single")
    little(bandwidth=17.3).to(torch.bfloat16).save_pretrained(tmp_path / "half")
    for folder, dtype in (("single", torch.bfloat16), ("half", None), ("half", torch.bfloat16)):
        read = CoordinateNetwork.from_pretrained(tmp_path / folder, dtype=dtype)
        assert torch.equal(read.encoding.frequencies, network.encoding.frequencies)
        assert read.layers[0].weight.dtype == torch.bfloat16


def test_half_precision_layers_see_positions_in_full() -> None:
    network = little().to(torch.bfloat16)
    assert network(torch.rand(4, 2)).dtype == torch.bfloat16


def test_its_tangent_kernel_can_be_taken() -> None:
    K = empirical(little(channels=1).double(), *[torch.rand(5, 2, dtype=torch.float64)] * 2)
    assert torch.linalg.eigvalsh(K)[0] > 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dims": 4}, "dims must be 1 to 3, got 4"),
        ({"encoding": "fourier"}, "encoding must be one of none, basic, positional, gaussian, got 'fourier'"),
        ({"channels": 0}, "channels must be 1 or more"),
        ({"features": 0}, "features must be 1 or more"),
        ({"depth": -1}, "depth is a number of hidden layers"),
        ({"low": 1.0}, "low must be below high, got 1.0 and 1.0"),
        ({"extent": [1.0]}, "for each of 2 axes"),
        ({"extent": [1.0, 0.0]}, r"extent \(above 0\)"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        CoordinateConfig(**changes)


def test_positions_and_sizes_that_do_not_fit() -> None:
    network = little()
    for bad in (torch.rand(3, 1), torch.ones(3, 2, dtype=torch.long), torch.tensor(1.0)):
        with pytest.raises(ValueError, match=r"positions are floating-point \(..., 2\)"):
            network(bad)
    for sizes in ((3,), (3, 0)):
        with pytest.raises(ValueError, match="one size, 1 or more, for each of 2 axes"):
            network.render(*sizes)
