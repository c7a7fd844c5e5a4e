"""Bandwidths chosen without training beside a grid search with training: `python -m benchmarks.bandwidth`.

Pictures are those in scikit-image's wheel, none of which any setting was chosen on. Each is cut to a square and
scaled to 128 x 128; a coordinate network (128 Gaussian features, 3 hidden ReLU layers of 256, sigmoid; Adam 1e-3, 250
full-batch steps) is trained on every second pixel along each axis and tested on those between (Tancik et al. 2020),
for nine deviations, half octaves around 0.04 x samples per axis. Regret is the test PSNR of the best deviation less
that of the chosen one, both means over the seeds.

With `--pictures` that are files, and `--jitters`, it is what the jitter of `loo` was chosen by: pictures that are not
in the table, and the mean regret for each jitter.

Needs scikit-image. A training takes about 18 CPU-seconds: 1.6 CPU-hours for twelve pictures and three seeds.
Results are kept in --out, so that a run that was stopped goes on.
"""

import argparse
import math
import statistics
import time
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import skimage.data
import torch
from benchmarks.table import kept, machine
from PIL import Image
from torch import Tensor, nn

from overtone.nn import FourierFeatures, grid
from overtone.ntk import BANDWIDTH_METHODS, bandwidth, select_bandwidth
from overtone.ntk.bandwidth import RULE

PICTURES = (
    "astronaut",
    "brick",
    "camera",
    "chelsea",
    "coffee",
    "coins",
    "grass",
    "hubble_deep_field",
    "immunohistochemistry",
    "moon",
    "rocket",
    "text",
)
OCTAVES = [k / 2 for k in range(-4, 5)]  # of the deviations, from the rule


def picture(name: str, size: int) -> Tensor:
    """Return a picture (channels, size, size) in [0, 1]: one of scikit-image's, or a file."""
    own = name in PICTURES
    image = Image.fromarray(np.asarray(getattr(skimage.data, name)())) if own else Image.open(name).convert("RGB")
    side = min(image.size)
    left, top = ((length - side) // 2 for length in image.size)
    square = image.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(square)).float().div(255).view(size, size, -1).permute(2, 0, 1)


def psnr(output: Tensor, target: Tensor) -> float:
    """Return the peak signal-to-noise ratio in dB of values in [0, 1]."""
    return -10 * math.log10((output - target).square().mean().item())


def halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the training and the test pixels of (channels, height, width) as rows."""
    return tuple(x[:, start::2, start::2].flatten(1).T for start in (0, 1))


def train(image: Tensor, std: float, steps: int, seed: int) -> float:
    """Return the test PSNR of a network trained on this picture."""
    torch.manual_seed(seed)
    channels, height, width = image.shape
    positions = grid(height, width).T.view(2, height, width)
    encoding = FourierFeatures.random(2, 128, std, seed=seed)
    x, x_test = (encoding(v) for v in halves(positions))
    y, y_test = halves(image)
    widths = [encoding.out_dim, 256, 256, 256]
    layers = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
    network = nn.Sequential(*layers, nn.Linear(256, channels), nn.Sigmoid())
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(network(x), y).backward()
        optimizer.step()
    with torch.no_grad():
        return psnr(network(x_test), y_test)


def search(name: str, options: argparse.Namespace) -> tuple[list[float], float]:
    """Return the test PSNR for each deviation, the mean over seeds, and the CPU-seconds of one seed's search."""
    image = picture(name, options.size)

    def measure(octave: float, seed: int) -> tuple[float, float]:
        started = time.process_time()
        value = train(image, RULE * options.size / 2 * 2**octave, options.steps, seed)
        return value, time.process_time() - started

    cells = [
        [
            kept(options.out, f"{name} {options.size} {options.steps} {seed} {octave}", partial(measure, octave, seed))
            for seed in options.seeds
        ]
        for octave in OCTAVES
    ]
    seconds = sum(second for row in cells for _, second in row) / len(options.seeds)
    return [statistics.mean(value for value, _ in row) for row in cells], seconds


def choose(name: str, size: int, method: str) -> tuple[int, float]:
    """Return the number of the chosen deviation and the CPU-seconds that took."""
    y = picture(name, size)[:, ::2, ::2]
    started = time.process_time()
    chosen = select_bandwidth(y, [RULE * size / 2 * 2**octave for octave in OCTAVES], method, dims=2)
    return int(chosen.curve.argmin()), time.process_time() - started


def print_jitters(curves: dict[str, list[float]], options: argparse.Namespace) -> None:
    """Print the mean regret of `loo` for each jitter, and of `gcv` for the time that leaves as much, 1 / jitter."""
    print("\n| jitter | loo | gcv |\n|---:|---:|---:|")
    for jitter in options.jitters:
        bandwidth.JITTER, bandwidth.TIME = jitter, 1 / jitter
        regrets = {
            method: [max(curve) - curve[choose(name, options.size, method)[0]] for name, curve in curves.items()]
            for method in ("loo", "gcv")
        }
        print(f"| {jitter:g} | {' | '.join(f'{statistics.mean(values):.2f}' for values in regrets.values())} |")


def main() -> None:
    """Print a row a picture and the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", nargs="+", default=PICTURES)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--jitters", type=float, nargs="+", help="of loo, to be compared on these pictures")
    parser.add_argument("--out", type=Path, default=Path("runs/bandwidth.json"))
    options = parser.parse_args()
    methods = list(BANDWIDTH_METHODS)
    print(f"Cycles a sample (regret in dB); {len(options.seeds)} seeds; {machine()}\n")
    print(f"| picture | best PSNR | best | {' | '.join(methods)} |\n|---|---:|---:|{'---:|' * len(methods)}")
    curves: dict[str, list[float]] = {}
    regrets: dict[str, list[float]] = {method: [] for method in methods}
    shares: dict[str, list[float]] = {method: [] for method in methods}
    for name in options.pictures:
        curves[name], seconds = search(name, options)
        curve, best, cells = curves[name], max(curves[name]), []
        for method in methods:
            number, took = choose(name, options.size, method)
            regrets[method].append(best - curve[number])
            shares[method].append(took / seconds)
            cells.append(f"{RULE * 2 ** OCTAVES[number]:.3f} ({regrets[method][-1]:.2f})")
        place = RULE * 2 ** OCTAVES[curve.index(best)]
        print(f"| {name} | {best:.2f} | {place:.3f} | {' | '.join(cells)} |", flush=True)
    means = [f"{statistics.mean(regrets[method]):.2f}, at most {max(regrets[method]):.2f}" for method in methods]
    print(f"| mean regret | | | {' | '.join(means)} |")
    print(f"| share of the search's time | | | {' | '.join(f'{statistics.mean(shares[m]):.3%}' for m in methods)} |")
    if options.jitters:
        print_jitters(curves, options)


if __name__ == "__main__":
    main()
