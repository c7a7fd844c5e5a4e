"""SHFIN in three dimensions: the temperature of an ocean a season ahead, in an ocean never seen.

    python -m benchmarks.volume                     the table: three seeds, about six minutes on one core
    python -m benchmarks.volume --ocean atlantic    the same where settings were chosen

The field is real: NOAA's monthly World Ocean Atlas, temperature every two degrees and on 14 levels from 0 to 500 m, in
Debian's `ferret-datasets` (downloaded with apt-get when needed). From this month's volume and the last one's, networks
tell what will change in three months. They learn in the Pacific, their settings were chosen in the Atlantic, and the
table is of the Indian Ocean. Needs scipy.
"""

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from benchmarks.table import machine
from jaxtyping import Float
from scipy.io import netcdf_file
from scipy.ndimage import uniform_filter
from tools.packages import debian
from torch import Tensor, nn

from overtone.counting import in_units, multiply_adds
from overtone.nn import SHFIN, Convolution, MixerBlock

FILE = "usr/share/ferret-vis/data/ocean_atlas_subset.nc"
WEST, SOUTH, STEP = 20, -90, 2  # the edges of the file's first column and row, and of a cell, in degrees
OCEANS = {"pacific": (128, 288, -64, 64), "atlantic": (288, 368, -64, 64), "indian": (32, 112, -64, 24)}  # W, E, S, N
LEARNED = "pacific"
LEVELS, AHEAD = 14, 3  # from 0 to 500 m; months
CHANNELS = 5
DIM, DEPTH, RATIO = 32, 4, 2
CROP, BATCH, RATE = 16, 4, 4e-3
AROUND = 7  # cells that the linear regression sees the mean of, along each side
RIDGE = 10.0

Volumes = Float[np.ndarray, "month level y x"]  # degrees C, NaN where there is no sea


def read() -> tuple[dict[str, Volumes], Float[np.ndarray, " level"]]:
    """Return the oceans by name, and the depths of their levels in metres."""
    with netcdf_file(debian("ferret-datasets") / FILE, mmap=False) as file:
        field = np.array(file.variables["TEMP"][:, :LEVELS], dtype=np.float32)
        field[field == file.variables["TEMP"].missing_value] = np.nan
        depths = np.array(file.variables["ZAXLEVIT19"][:LEVELS])
    oceans = {}
    for name, (west, east, south, north) in OCEANS.items():
        columns = np.arange((west - WEST) // STEP, (east - WEST) // STEP) % field.shape[3]
        oceans[name] = field[:, :, (south - SOUTH) // STEP : (north - SOUTH) // STEP, columns]
    return oceans, depths


def change(ocean: Volumes) -> Volumes:
    """Return what will change in each month's next season; the year is a ring."""
    return np.roll(ocean, -AHEAD, axis=0) - ocean


def rmse(error: Volumes) -> float:
    """Return the root of the mean square over all months and the sea."""
    return float(np.sqrt(np.nanmean(np.square(error, dtype=np.float64))))


class Seen:
    """What is known of an ocean in each month, on the scale of the one that is learned in."""

    def __init__(self, learned: Volumes) -> None:
        self.mean, self.deviation = (f(learned, axis=(0, 2, 3))[:, None, None] for f in (np.nanmean, np.nanstd))

    def channels(self, ocean: Volumes) -> Float[np.ndarray, "month channel level y x"]:
        """Return temperature, its change since last month and to the level below, where there is sea, and the depth."""
        depth = np.broadcast_to(np.linspace(-1, 1, ocean.shape[1])[:, None, None], ocean.shape)
        below = np.diff(ocean, axis=1, append=ocean[:, -1:])
        parts = (
            (ocean - self.mean) / self.deviation,
            ocean - np.roll(ocean, 1, axis=0),
            below,
            ~np.isnan(ocean),
            depth,
        )
        return np.nan_to_num(np.stack(parts, axis=1)).astype(np.float32)


def regression(learned: Volumes, asked: Volumes) -> Volumes:
    """Return the change by linear regression of each level on the whole column, and on the mean of those around."""
    x, y, x_asked = column(learned), change(learned), column(asked)
    out = np.empty_like(asked)
    for level in range(LEVELS):
        target = y[:, level].ravel()
        known = ~np.isnan(target)
        X, Y = x[known], target[known]
        weights = np.linalg.solve(X.T @ X + RIDGE * np.eye(X.shape[1]), X.T @ Y)
        out[:, level] = (x_asked @ weights).reshape(out[:, level].shape)
    return out


def column(ocean: Volumes) -> Float[np.ndarray, "columns features"]:
    """Return temperature and its change since last month at all levels, their means around, and one."""
    sea = ~np.isnan(ocean)
    parts = [np.nan_to_num(ocean - 10), np.nan_to_num(ocean - np.roll(ocean, 1, axis=0))]
    size = (1, 1, AROUND, AROUND)
    share = np.maximum(uniform_filter(sea.astype(np.float64), size, mode="constant"), 1e-3)
    parts += [uniform_filter(part.astype(np.float64), size, mode="constant") / share for part in parts]
    features = np.concatenate(parts, axis=1)
    rows = np.moveaxis(features, 1, -1).reshape(-1, features.shape[1])
    return np.concatenate([rows, np.ones((len(rows), 1))], axis=1)


class Network(nn.Module):
    """Cells of two by two by two, blocks with the given mixers, and back: what will change, in degrees C."""

    def __init__(self, mixers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.reduce = nn.Conv3d(CHANNELS, DIM, 2, stride=2)
        self.blocks = nn.Sequential(*(MixerBlock(mixer, DIM, RATIO) for mixer in mixers), nn.LayerNorm(DIM))
        self.expand = nn.ConvTranspose3d(DIM, 1, 2, stride=2)
        nn.init.zeros_(self.expand.weight)

    def forward(self, x: Float[Tensor, "batch channel level y x"]) -> Float[Tensor, "batch level y x"]:
        """Return the change; all sides must be even."""
        return self.expand(self.blocks(self.reduce(x).movedim(1, -1)).movedim(-1, 1))[:, 0]


def shfin(quiet: bool = True) -> Network:
    """Return a network of SHFIN blocks, every second of them with shifted patches.

    `quiet` starts the values at zero: at first nothing is mixed. With the usual draw all coefficients of a patch
    start as about the same sum, which the synthesis puts out as a peak in the patch's corner.
    """
    mixers = [SHFIN(DIM, patch=4, kept=12, rank=16, axes=3, shift=i % 2 == 1) for i in range(DEPTH)]
    if quiet:
        for mixer in mixers:
            nn.init.zeros_(mixer.value.weight)
    return Network(mixers)


NETWORKS: dict[str, Callable[[], Network]] = {
    "SHFIN": shfin,
    "SHFIN, values drawn as usual": lambda: shfin(quiet=False),
    "convolution 3 x 3 x 3": lambda: Network([Convolution(DIM, 3, axes=3) for _ in range(DEPTH)]),
    "no mixing": lambda: Network([nn.Identity() for _ in range(DEPTH)]),
}


def train(network: Network, x: np.ndarray, y: Volumes, steps: int, seed: int) -> None:
    """Learn what changes from parts of an ocean, at times mirrored: AdamW on the mean squared error."""
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(network.parameters(), RATE)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.1)
    network.train()
    for _ in range(steps):
        parts = [draw(x, y, rng) for _ in range(BATCH)]
        seen, truth = (torch.from_numpy(np.stack(values)) for values in zip(*parts, strict=True))
        error = network(seen) - truth
        optimizer.zero_grad()
        error[~truth.isnan()].square().mean().backward()
        optimizer.step()
        cycle.step()


def draw(x: np.ndarray, y: Volumes, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a part of an ocean in some month, three tenths of it sea or more."""
    while True:
        month = rng.integers(len(y))
        south, west = (rng.integers(n - CROP + 1) for n in y.shape[2:])
        part = np.s_[month, ..., south : south + CROP, west : west + CROP]
        if np.isnan(y[part][0]).mean() < 0.7:
            mirror = np.s_[..., :: rng.choice([1, -1]), :: rng.choice([1, -1])]
            return x[part][mirror].copy(), y[part][mirror].copy()


@torch.no_grad()
def tell(network: Network, x: np.ndarray) -> Volumes:
    """Return what a network says will change in a whole ocean."""
    return network.eval()(torch.from_numpy(x)).numpy()


def picture(ocean: Volumes, told: dict[str, Volumes], level: int, depth: float, month: int, out: Path) -> None:
    """Draw one level in one month: the sea and what comes, beside what each network says of it and how it errs."""
    truth = change(ocean)[month, level]
    columns = [{f"The sea at {depth:.0f} m, °C": ocean[month, level], f"Its change in {AHEAD} months": truth}]
    for name, values in told.items():
        error = values[month, level] - truth
        columns.append({f"{name} says": error + truth, f"{name} errs: {rmse(error):.2f} °C": error})
    bound = np.nanmax(np.abs(truth))
    figure, axes = plt.subplots(2, len(columns), figsize=(3 * len(columns), 5.6), layout="constrained", squeeze=False)
    for axis, (title, values) in zip(axes.T.flat, (item for column in columns for item in column.items()), strict=True):
        colours = {"cmap": "viridis"} if "sea" in title else {"cmap": "RdBu_r", "vmin": -bound, "vmax": bound}
        figure.colorbar(axis.imshow(values, origin="lower", **colours), ax=axis, shrink=0.8)
        axis.set_title(title, fontsize=10)
        axis.set_axis_off()
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=75)
    plt.close(figure)


def main() -> None:
    """Train every network with every seed, print the table and draw the picture of the first seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ocean", choices=list(OCEANS), default="indian")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--out", type=Path, default=Path("runs/volume.png"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    oceans, depths = read()
    learned, asked = oceans[LEARNED], oceans[options.ocean]
    seen = Seen(learned)
    x, y, x_asked = seen.channels(learned), change(learned), seen.channels(asked)
    told: dict[str, Volumes] = {}
    errors, seconds = defaultdict(list), defaultdict(list)
    for seed in options.seeds:
        for name in options.networks:
            torch.manual_seed(seed)
            network, started = NETWORKS[name](), time.process_time()
            train(network, x, y, options.steps, seed)
            seconds[name].append(time.process_time() - started)
            answer = tell(network, x_asked)
            errors[name].append(rmse(answer - change(asked)))
            told.setdefault(name, answer)
            print(f"seed {seed}, {name}: {errors[name][-1]:.3f} °C after {seconds[name][-1]:.0f} s", flush=True)
    print(
        f"\nRoot mean square error in °C, {options.ocean}, {options.steps} steps, mean ± standard deviation over ",
        end="",
    )
    print(f"{len(options.seeds)} seeds; {machine()}\n")
    print("| | error, °C | parameters | multiply-adds | CPU-seconds to train |\n|---|---:|---:|---:|---:|")
    for name in options.networks:
        counted = multiply_adds(NETWORKS[name](), torch.from_numpy(x_asked[:1]))
        spread = f" ± {statistics.stdev(errors[name]):.3f}" if len(errors[name]) > 1 else ""
        print(
            f"| {name} | {statistics.mean(errors[name]):.3f}{spread} | {in_units(counted.parameters)} "
            f"| {in_units(counted.multiply_adds)} | {statistics.mean(seconds[name]):.0f} |"
        )
    print(f"| linear regression on the column | {rmse(regression(learned, asked) - change(asked)):.3f} | | | |")
    print(f"| no change | {rmse(change(asked)):.3f} | | | |")
    print(
        f"| the place's own mean of the year, not known to the others | {rmse(asked - asked.mean(axis=0)):.3f} | | | |"
    )
    drawn = {name.partition(" ")[0]: told[name] for name in ("SHFIN", "convolution 3 x 3 x 3") if name in told}
    picture(asked, drawn, level := 3, depths[level], 4, options.out)


if __name__ == "__main__":
    main()
