"""What the deviation of Fourier features does, in one picture: `python -m benchmarks.bandwidth_picture`.

The tangent kernel at three deviations, what the kernel makes of a row of a photograph of which it saw every second
sample, and, for three photographs, the test error of trained networks beside the leave-one-out error that is known
without training. Writes docs/bandwidth.png. Trainings are those of `benchmarks.bandwidth`, and kept where its are.
"""

import argparse
import math
from pathlib import Path

import torch
from benchmarks.bandwidth import OCTAVES, picture, search
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from overtone.ntk import regress, relu_kernels, select_bandwidth
from overtone.ntk.bandwidth import RULE

DEPTH = 3
DEVIATIONS = {0.01: "tab:blue", 0.04: "tab:green", 0.16: "tab:red"}  # cycles a sample
ROW, SHOWN = 40, 36  # the row of the photograph, and how much of it
PICTURES = {"coffee": "tab:brown", "camera": "tab:gray", "hubble_deep_field": "tab:purple"}


def kernel(distance: Tensor, std: float) -> Tensor:
    """Return K(D) / K(0) for infinitely many features of deviation `std` before an infinitely wide network."""
    one = torch.ones((), dtype=torch.float64)
    return relu_kernels((-2 * (math.pi * std * distance).square()).exp(), one, one, DEPTH)[1] / (DEPTH + 1)


def draw_kernels(axes: Axes) -> None:
    """Draw the kernels by distance."""
    distance = torch.linspace(-16, 16, 801, dtype=torch.float64)
    for std, colour in DEVIATIONS.items():
        axes.plot(distance, kernel(distance, std), color=colour, label=f"{std:g} cycles a sample")
    axes.set(title="the kernel", xlabel="distance, samples", ylabel="K(D) / K(0)")
    axes.legend(fontsize=8)


def draw_row(axes: Axes) -> None:
    """Draw what regression with each kernel puts between the samples that it saw."""
    values = picture("camera", 128)[0, ROW, : 2 * SHOWN].double()
    fine = torch.linspace(0, SHOWN - 1, 20 * SHOWN, dtype=torch.float64)
    seen, y = torch.arange(SHOWN, dtype=torch.float64), values[::2]
    for std, colour in DEVIATIONS.items():
        K, K_fine = (kernel(at[:, None] - seen, std) for at in (seen, fine))
        axes.plot(fine, regress(K, K_fine, y - y.mean(), jitter=0.1) + y.mean(), color=colour, lw=1)
    axes.plot(seen, y, "o", color="black", ms=3, label="learned from")
    axes.plot(seen + 0.5, values[1::2], "o", mfc="none", color="black", ms=4, label="tested on")
    axes.set(title="a row of a photograph, half of it seen", xlabel="sample", ylabel="brightness")
    axes.legend(fontsize=8)


def draw_errors(axes: Axes, options: argparse.Namespace) -> None:
    """Draw observed and foretold error by deviation, each in dB above its least."""
    stds = [RULE * 2**octave for octave in OCTAVES]
    for name, colour in PICTURES.items():
        observed = torch.tensor(search(name, options)[0])
        samples = picture(name, options.size)[:, ::2, ::2]
        foretold = 10 * select_bandwidth(samples, [std * options.size / 2 for std in stds], dims=2).curve.log10()
        axes.plot(stds, observed.max() - observed, "o-", color=colour, ms=4, label=name.replace("_", " "))
        axes.plot(stds, foretold - foretold.min(), "--", color=colour)
    axes.set(title="error: trained (solid), foretold (dashed)", xlabel="deviation, cycles a sample", xscale="log")
    axes.set(ylabel="dB above the least", xticks=list(DEVIATIONS), xticklabels=[f"{std:g}" for std in DEVIATIONS])
    axes.set_ylim(-0.1, 5)
    axes.minorticks_off()
    axes.legend(fontsize=8)


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", type=Path, default=Path("runs/bandwidth.json"), help="where trainings are kept")
    parser.add_argument("--picture", default="docs/bandwidth.png")
    options = parser.parse_args()
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    kernels, row, errors = figure.subplots(1, 3)
    draw_kernels(kernels)
    draw_row(row)
    draw_errors(errors, options)
    figure.savefig(options.picture, dpi=90)
    print(f"Drawn in {options.picture}")


if __name__ == "__main__":
    main()
