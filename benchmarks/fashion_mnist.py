"""SHFIN beside its rivals on Fashion-MNIST, like for like: `python -m benchmarks.fashion_mnist`.

The same backbone, recipe, epochs and seeds; the token mixer alone differs. Tables by name: `mixers` (SHFIN, its fast
variant, and its rivals), `kept` (K), `rank` (r) and `patch`. Options: `--epochs`, `--seeds`, `--rows`. Results are kept
in --out, so that a table can be filled in several runs, and the recipe's own network is trained once for all tables.
"""

import argparse
import json
import statistics
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch
from benchmarks.table import clock, kept, machine, spread

from overtone.counting import in_units, multiply_adds
from overtone.models import ShfinConfig, ShfinForImageClassification
from overtone.tasks.presets import PRESETS
from overtone.tasks.train import TrainConfig, train

TABLES: dict[str, dict[str, dict[str, Any]]] = {
    "mixers": {
        "SHFIN, fast (the recipe's)": {},
        "SHFIN": {"deep": (0, 0, 0)},
        "attention": {"mixer": "attention"},
        "convolution 7 x 7": {"mixer": "conv"},
        "GFNet": {"mixer": "gfnet"},
        "AFNO": {"mixer": "afno"},
        "FNet": {"mixer": "fnet"},
    },
    "kept": {
        "K = 4, 4, 4": {"kept": (4, 4, 4)},
        "K = 8, 8, 8": {"kept": (8, 8, 8)},
        "K = 12, 12, 8 (the recipe's)": {},
        "K = 25, 25, 10 (all)": {"kept": (25, 25, 10)},
    },
    "rank": {"r = 1": {"rank": 1}, "r = 2": {"rank": 2}, "r = 4 (the recipe's)": {}, "r = 8": {"rank": 8}},
    "patch": {
        "patches of 14, 7, 4": {"patches": (14, 7, 4)},
        "patches of 7, 7, 4 (the recipe's)": {},
        "patches of 4, 4, 4": {"patches": (4, 4, 4), "kept": (8, 8, 8)},
    },
}


def network(changes: dict[str, Any], seed: int) -> ShfinForImageClassification:
    """Return the recipe's network with some of its settings changed."""
    torch.manual_seed(seed)
    config = PRESETS["fashion-mnist"].network(10).to_dict() | changes
    return ShfinForImageClassification(ShfinConfig(**config))


def score(changes: dict[str, Any], seed: int, options: argparse.Namespace) -> tuple[float, float]:
    """Train a row's network, and return its test accuracy and the seconds that took."""
    started = clock(options.device)
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(
            "fashion-mnist", out=f"{folder}/run", epochs=options.epochs, seed=seed, device=options.device
        )
        report = train(config, network(changes, seed)).report
    return report.top1.value, clock(options.device) - started


def main() -> None:
    """Train every row of a table with every seed, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=list(TABLES))
    parser.add_argument("--rows", nargs="+", help="these rows of the table only")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/fashion_mnist.json"))
    options = parser.parse_args()
    rows = {name: row for name, row in TABLES[options.table].items() if name in (options.rows or TABLES[options.table])}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in rows}
    for seed in options.seeds:
        for name, changes in rows.items():
            key = f"{json.dumps(changes)}, {options.epochs} epochs, seed {seed}"
            found[name].append(kept(options.out, key, partial(score, changes, seed, options)))
            accuracy, seconds = found[name][-1]
            print(f"seed {seed}, {name}: {100 * accuracy:.2f} % after {seconds:.0f} s", flush=True)
    print(f"\nTest accuracy in percent after {options.epochs} epochs, mean ± standard deviation over ", end="")
    print(f"{len(options.seeds)} seeds; {machine()}\n")
    print("| network | test accuracy | parameters | multiply-adds | minutes to train |\n|---|---:|---:|---:|---:|")
    for name, changes in rows.items():
        counted = multiply_adds(network(changes, 0), torch.zeros(1, 1, 28, 28))
        accuracies, seconds = zip(*found[name], strict=True)
        sizes = f"{in_units(counted.parameters)} | {in_units(counted.multiply_adds)}"
        print(f"| {name} | {spread(accuracies)} | {sizes} | {statistics.mean(seconds) / 60:.1f} |")


if __name__ == "__main__":
    main()
