"""SHFIN with a fixed and a content-adaptive K, accuracy against work on Fashion-MNIST: `python -m benchmarks.adaptive`.

A small network (stem 4, about 3 M multiply-adds) and one recipe for all; K alone differs. Fixed: each patch keeps the
same K frequencies. Adaptive: of 16 a patch keeps those that hold most of its energy, `mean K` of them on average. K is
that of the first stage; the second, whose patches have 10 frequencies in all, keeps the same share of those. Work is
counted on test pictures, as it depends on them. The curve goes to --out, and results are kept beside it.
"""

import argparse
import statistics
import tempfile
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from benchmarks.table import clock, kept, machine, spread
from torch import Tensor, nn

from overtone.counting import evaluating, in_units, multiply_adds
from overtone.data import load
from overtone.data.pixels import read_pixels
from overtone.models import ShfinConfig, ShfinForImageClassification
from overtone.nn import SHFIN
from overtone.tasks.classifier import Classifier
from overtone.tasks.presets import PRESETS
from overtone.tasks.train import TrainConfig, train

DATA = "fashion-mnist"
SIZES: dict[str, Any] = {"stem": 4, "dims": (64, 96), "depths": (1, 1), "patches": (7, 4), "rank": 4}
MOST = (16, 10)  # frequencies of a patch, by stage
FIXED, ADAPTIVE = (2, 4, 8, 16), (2, 4, 8)
COUNTED = 256  # test pictures that work is the mean of
ROWS: dict[str, dict[str, Any]] = {
    **{f"K = {K}": {"kept": [max(1, round(K / MOST[0] * most)) for most in MOST]} for K in FIXED},
    **{f"mean K = {K}": {"kept": MOST, "budget": K / MOST[0]} for K in ADAPTIVE},
}


def network(row: str, seed: int) -> ShfinForImageClassification:
    """Return a row's network with fresh weights."""
    torch.manual_seed(seed)
    preset = PRESETS[DATA]
    sizes = {"image_size": preset.framing.size, "num_channels": preset.framing.channels, "num_labels": 10}
    return ShfinForImageClassification(ShfinConfig(**sizes, **SIZES, **ROWS[row]))


@torch.no_grad()
def frequencies_kept(model: nn.Module, pictures: Tensor) -> list[float]:
    """Return the mean number of frequencies that a patch keeps, for each SHFIN layer.

    A layer asks all its candidates what they attend to, and computes values for those it keeps alone.
    """
    rows: dict[nn.Module, int] = {}
    layers = [module for module in model.modules() if isinstance(module, SHFIN)]
    parts = [part for layer in layers for part in (layer.query_key, layer.value)]
    hooks = [part.register_forward_hook(lambda p, x, _: rows.update({p: x[0].shape[:-1].numel()})) for part in parts]
    with evaluating(model):
        model(pictures)
    for hook in hooks:
        hook.remove()
    return [layer.kept * rows[layer.value] / rows[layer.query_key] for layer in layers]


def pictures(classifier: Classifier) -> Tensor:
    """Return some test pictures as the network takes them."""
    pixels, _ = read_pixels(load(DATA, 0).test, classifier.framing, classifier.device)
    sample = pixels.sample(COUNTED)
    return classifier.normalise(classifier.framing.middle(sample.squares(torch.arange(COUNTED))))


def run(row: str, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Train a row's network and return its figures."""
    started = clock(options.device)
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(DATA, out=f"{folder}/run", epochs=options.epochs, seed=seed, device=options.device)
        result = train(config, network(row, seed))
    x = pictures(result.classifier)
    first, second = frequencies_kept(result.classifier.network, x)
    return {
        "accuracy": result.report.top1.value,
        "first": first,
        "second": second,
        "work": multiply_adds(result.classifier.network, x).multiply_adds / COUNTED,
        "seconds": clock(options.device) - started,
    }


def draw(figures: dict[str, list[dict[str, float]]], out: Path) -> None:
    """Draw accuracy against work, a line for the fixed and one for the adaptive rows, as wide as the seeds spread."""
    figure, axes = plt.subplots(figsize=(5, 3.5), layout="constrained")
    for kind, marker in (("K", "o"), ("mean K", "s")):
        rows = [row for row in figures if row.rpartition(" = ")[0] == kind]
        work = [statistics.mean(f["work"] for f in figures[row]) / 1e6 for row in rows]
        points = [[100 * f["accuracy"] for f in figures[row]] for row in rows]
        middle = [statistics.mean(values) for values in points]
        bars = [statistics.stdev(values) if len(values) > 1 else 0 for values in points]
        axes.errorbar(work, middle, bars, marker=marker, capsize=3, label={"K": "fixed"}.get(kind, "adaptive"))
        for row, x, y in zip(rows, work, middle, strict=True):
            axes.annotate(row, (x, y), (4, 5), textcoords="offset points", fontsize=8)
    axes.set(xlabel="multiply-adds a picture, millions", ylabel="test accuracy, %", title="Fashion-MNIST")
    axes.legend(loc="lower right")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=120)
    plt.close(figure)


def main() -> None:
    """Train every row with every seed, print the table and draw the curve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/adaptive.png"))
    options = parser.parse_args()
    figures: dict[str, list[dict[str, float]]] = defaultdict(list)
    for seed in options.seeds:
        for row in options.rows:
            key = f"{row}, {options.epochs} epochs, seed {seed}"
            figures[row].append(kept(options.out.with_suffix(".json"), key, partial(run, row, seed, options)))
            last = figures[row][-1]
            print(f"seed {seed}, {row}: {100 * last['accuracy']:.2f} % after {last['seconds']:.0f} s", flush=True)
    print(f"\nTest accuracy in percent after {options.epochs} epochs, mean ± standard deviation over ", end="")
    print(f"{len(options.seeds)} seeds; {machine()}\n")
    print(
        "| frequencies a patch | kept, stage 1 | kept, stage 2 | test accuracy | parameters | multiply-adds | seconds |"
    )
    print("|---|" + "---:|" * 6)
    for row, runs in figures.items():
        first, second, work, seconds = (
            statistics.mean(f[name] for f in runs) for name in ("first", "second", "work", "seconds")
        )
        size = in_units(network(row, 0).num_parameters())
        print(
            f"| {row} | {first:.1f} | {second:.1f} | {spread([f['accuracy'] for f in runs])} | {size} "
            f"| {in_units(round(work))} | {seconds:.0f} |"
        )
    draw(figures, options.out)


if __name__ == "__main__":
    main()
