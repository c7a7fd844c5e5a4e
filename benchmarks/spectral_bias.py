"""Spectral bias: how a network learns a sum of sines, frequency by frequency: `python -m benchmarks.spectral_bias`.

With and without Fourier features: predicted by the tangent kernel before training (lines) and observed in gradient
descent (dots), beside the kernel's eigenvalues. Writes docs/spectral_bias.png and prints the steps to nine tenths.
"""

import argparse
import math

import matplotlib as mpl
import numpy as np
import torch
from benchmarks.table import machine
from matplotlib.figure import Figure
from torch import nn

from overtone.nn import FourierFeatures, grid
from overtone.ntk import Learning, learn_components, relu_network

FREQUENCIES = (1, 2, 4, 8, 16)  # cycles over the interval
POSITIONS, WIDTH, DEPTH = 64, 512, 2
LEARNED = 0.9
COLOURS = mpl.colormaps["viridis"](np.linspace(0, 0.85, len(FREQUENCIES)))


def networks(seed: int) -> dict[str, nn.Module]:
    """Return the rivals, which differ in what comes before the first layer."""
    torch.manual_seed(seed)
    features = FourierFeatures.random(1, 128, std=8.0, seed=seed)
    plain = relu_network(1, WIDTH, DEPTH, bias_scale=1.0)
    encoded = nn.Sequential(features, relu_network(features.out_dim, WIDTH, DEPTH, bias_scale=1.0))
    return {"coordinates as they are": plain.double(), "Gaussian Fourier features, deviation 8": encoded.double()}


def draw(learned: dict[str, Learning]) -> Figure:
    """Draw what is learned of each frequency by step, and all eigenvalues."""
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    axes = figure.subplots(1, len(learned) + 1)
    for panel, (name, learning) in zip(axes, learned.items(), strict=False):
        for i, (frequency, colour) in enumerate(zip(FREQUENCIES, COLOURS, strict=True)):
            panel.plot(learning.steps, learning.predicted[:, i], color=colour, label=f"{frequency}")
            panel.plot(learning.steps, learning.observed[:, i], ".", color=colour, ms=5)
        panel.set(
            title=name, xscale="symlog", xlabel="step of gradient descent", ylabel="share of the sine in the output"
        )
        panel.set_ylim(-0.15, 1.15)
    axes[0].legend(title="cycles", fontsize=8)
    for (name, learning), style in zip(learned.items(), ("--", "-"), strict=True):
        values = learning.eigenvalues / learning.eigenvalues[0]
        axes[-1].plot(np.arange(1, len(values) + 1), values, style, color="0.2", label=name)
    axes[-1].set(title="eigenvalues of the kernel", yscale="log", xlabel="number", ylabel="part of the largest")
    axes[-1].legend(fontsize=8)
    return figure


def steps_to(learning: Learning, curve: torch.Tensor) -> str:
    """Return the first recorded step at which nine tenths are learned."""
    found = [step for step, share in zip(learning.steps, curve.tolist(), strict=True) if share >= LEARNED]
    return f"{found[0]:,}" if found else f"over {learning.steps[-1]:,}"


def main() -> None:
    """Train, predict, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="docs/spectral_bias.png")
    options = parser.parse_args()
    x = grid(POSITIONS, dtype=torch.float64)
    parts = torch.sin(2 * math.pi * x * torch.tensor(FREQUENCIES))
    steps = sorted({0, *np.geomspace(1, options.steps, 40).round().astype(int).tolist()})
    learned = {name: learn_components(module, x, parts, steps) for name, module in networks(options.seed).items()}
    print(f"Steps until nine tenths of a sine are learned, predicted / observed; {machine()}\n")
    print(f"| cycles | {' | '.join(learned)} |\n|---:|{'---:|' * len(learned)}")
    for i, frequency in enumerate(FREQUENCIES):
        cells = [f"{steps_to(v, v.predicted[:, i])} / {steps_to(v, v.observed[:, i])}" for v in learned.values()]
        print(f"| {frequency} | {' | '.join(cells)} |")
    draw(learned).savefig(options.out, dpi=90)
    print(f"\nDrawn in {options.out}")


if __name__ == "__main__":
    main()
