"""The code on the page about volumes runs as it stands, on a small random volume, and learns."""

import re
from pathlib import Path
from typing import Any

import torch

PAGE = (Path(__file__).parents[2] / "docs" / "volume.md").read_text()


def names_after(*blocks: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec("\n".join(blocks), names)
    return names


def test_the_code_on_the_page_runs_on_a_small_random_volume() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 1
    assert len(blocks[0].splitlines()) <= 22  # short enough to read at a glance
    torch.manual_seed(0)
    names = names_after(*blocks)
    assert names["change"].shape == (2, 14, 16, 20)


def test_mixing_starts_from_nothing_and_is_learned() -> None:
    torch.manual_seed(0)
    network = names_after(*re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))["Volume"](channels=1)
    volume = torch.randn(2, 1, 8, 8, 8)
    assert reached(network, volume) == 8  # positions: one cell of two by two by two
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        (network(volume) - volume[:, 0].roll(2, dims=3)).square().mean().backward()
        optimizer.step()
    assert reached(network, volume) == 8**3  # patches cover all, as every second block shifts them


@torch.no_grad()
def reached(network: torch.nn.Module, volume: torch.Tensor) -> int:
    """Return how many positions of the output depend on the first of the input."""
    touched = volume.clone()
    touched[:, :, 0, 0, 0] += 10
    network.eval()
    changed = (network(touched) - network(volume)).abs().amax(0) > 1e-6  # float32 rounding of values around one
    network.train()
    return int(changed.sum())


def test_the_picture_and_the_script_that_the_page_names_are_there() -> None:
    root = Path(__file__).parents[2]
    assert (root / "docs" / "volume.png").stat().st_size < 120_000
    for module in re.findall(r"python -m ([\w.]+)", PAGE):
        assert (root / f"{module.replace('.', '/')}.py").is_file()
