"""What the Perceiver claims, on a small scale: `python -m benchmarks.perceiver permuted` and `... cost`.

`permuted`: pixels in another order, the same for all pictures, cost a Perceiver nothing, and a ViT and a CNN much
(arXiv 2103.03206, table 2: raw and permuted ImageNet, 78.0 / 78.0 % for Fourier positions, 70.9 / 70.9 for learned
ones, 73.5 / 39.4 for a ResNet-50). A part of Fashion-MNIST, one recipe for all (`overtone train`'s, through
`overtone.tasks.train.train`). As in the paper, every network is given the Fourier features of each pixel's position,
the ViT and the CNN as further channels. Three arrangements: as it is; pixels permuted with their positions (the
paper's: augmentation and positions come first); and pixels permuted under positions that stay (ours), so that the
positions are wrong and must be unlearned.

`cost`: time and memory against the number of inputs M, for the part that reads them and for each further layer, beside
a transformer over all inputs, with the exponents of M fitted: O(M N + L N^2) against O(L M^2). On a CPU, times
are of the processor on one thread, so that other processes do not enter.
"""

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.table import clock, kept, machine, markdown
from PIL import Image
from torch import Tensor, nn
from transformers import (
    PreTrainedConfig,
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)
from transformers.modeling_outputs import ImageClassifierOutput

from overtone.counting import in_units
from overtone.data.fashion_mnist import SIDE, read_fashion_mnist
from overtone.models import ImagePerceiverConfig, PerceiverForImageClassification
from overtone.nn import FourierFeatures
from overtone.tasks.bench import peak_memory
from overtone.tasks.train import TrainConfig, train

BANDS = SIDE // 2
CHANNELS = 1 + 2 * (2 * BANDS + 1)  # a grey pixel and its encoded position
RAW, TOGETHER, APART = "raw", "permuted with positions", "permuted, positions stay"
ARRANGEMENTS = (RAW, TOGETHER, APART)
ORDER = torch.randperm(SIDE**2, generator=torch.Generator().manual_seed(0))
PERCEIVER = {"latents": 32, "dim": 64, "blocks": 2, "cross_attends": 2, "self_attends": 2, "heads": 4}


def permuted(x: Tensor) -> Tensor:
    """Return pictures (batch, channels, h, w) with their pixels in another order, all channels alike."""
    return x.flatten(2)[:, :, ORDER.to(x.device)].view_as(x)


class Seen(PreTrainedModel):
    """A classifier of transformers, shown each pixel with its Fourier features as further channels."""

    config_class = PreTrainedConfig
    main_input_name = "pixel_values"

    def __init__(self, network: PreTrainedModel) -> None:
        super().__init__(PreTrainedConfig(image_size=SIDE, num_channels=1, num_labels=10))
        self.network = network
        positions = FourierFeatures.perceiver(2, BANDS, SIDE).on_grid(SIDE, SIDE)
        self.register_buffer("positions", positions.T.reshape(1, -1, SIDE, SIDE), persistent=False)

    def forward(self, pixel_values: Tensor) -> ImageClassifierOutput:
        """Return logits."""
        positions = self.positions.expand(len(pixel_values), -1, -1, -1)
        return self.network(torch.cat([pixel_values, positions], dim=1))


def perceiver(**changes: Any) -> PerceiverForImageClassification:
    """Return a small Perceiver for Fashion-MNIST."""
    sizes = {"image_size": SIDE, "num_channels": 1, "num_labels": 10, "bands": BANDS, "cross_dim": 32}
    return PerceiverForImageClassification(ImagePerceiverConfig(**sizes | PERCEIVER | changes))


def vit() -> Seen:
    """Return a small ViT, of patches of 4 x 4."""
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4}
    config = ViTConfig(image_size=SIDE, patch_size=4, num_channels=CHANNELS, num_labels=10, **sizes)
    return Seen(ViTForImageClassification(config))


def cnn() -> Seen:
    """Return a small ResNet."""
    sizes = {"embedding_size": 16, "hidden_sizes": [16, 32, 64], "depths": [1, 1, 1], "layer_type": "basic"}
    return Seen(ResNetForImageClassification(ResNetConfig(num_channels=CHANNELS, num_labels=10, **sizes)))


NETWORKS: dict[str, Callable[[], PreTrainedModel]] = {
    "Perceiver, Fourier positions": perceiver,
    "Perceiver, learned positions": lambda: perceiver(positions="learned"),
    "ViT": vit,
    "CNN (ResNet)": cnn,
}


def network(name: str, arrangement: str, seed: int) -> PreTrainedModel:
    """Return a network that sees pixels and positions in an arrangement; its weights follow from the seed alone."""
    torch.manual_seed(seed)
    made = NETWORKS[name]()
    if arrangement == APART:
        made.register_forward_pre_hook(
            lambda module, _, named: ((), {"pixel_values": permuted(named["pixel_values"])}), with_kwargs=True
        )
    if arrangement == TOGETHER and isinstance(made, Seen):
        made.network.register_forward_pre_hook(lambda module, channels: (permuted(channels[0]),))
    if arrangement == TOGETHER and isinstance(made, PerceiverForImageClassification):
        made.inputs.register_forward_hook(lambda module, _, pairs: (pairs[0][:, ORDER.to(pairs[0].device)], pairs[1]))
    return made


def write_part(folder: Path, train_pictures: int, test_pictures: int) -> None:
    """Write the first pictures of Fashion-MNIST as `overtone train` reads them, a folder a class."""
    levels = read_fashion_mnist().levels
    for level, number in (("train", train_pictures), ("test", test_pictures)):
        for i, row in enumerate(levels[level][:number]):
            file = folder / level / row.name.replace("/", " or ") / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(row.encoded).save(file)


def score(name: str, arrangement: str, seed: int, folder: Path, options: argparse.Namespace) -> tuple[float, float]:
    """Train a network in an arrangement, and return its test accuracy and the seconds that took."""
    started = clock(options.device)
    config = TrainConfig(
        str(folder / "data"),
        out=str(folder / f"{name}-{arrangement}-{seed}".replace(" ", "-")),
        preset="fashion-mnist",
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        seed=seed,
        device=options.device,
    )
    return train(config, network(name, arrangement, seed)).report.top1.value, clock(options.device) - started


def permuted_pixels(options: argparse.Namespace) -> None:
    """Train every network in every arrangement with every seed, and print the table."""
    accuracies: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in options.rows}
    with tempfile.TemporaryDirectory() as folder:
        write_part(Path(folder, "data"), options.pictures, options.test_pictures)
        for seed in options.seeds:
            for name in options.rows:
                for arrangement in ARRANGEMENTS:
                    row = f"{name}, {arrangement}, seed {seed}"
                    learned = f"{options.pictures} pictures, {options.epochs} epochs of batches of {options.batch_size}"
                    key = f"{row}, {learned}, rate {options.learning_rate}, {options.test_pictures} tested"
                    accuracy, seconds = kept(
                        options.out, key, partial(score, name, arrangement, seed, Path(folder), options)
                    )
                    accuracies[name][arrangement].append(accuracy)
                    print(f"{row}: {100 * accuracy:.2f} % after {seconds:.0f} s", flush=True)
    print(f"\nTest accuracy in percent on {options.test_pictures:,} pictures, learned from {options.pictures:,} in ")
    print(f"{options.epochs} epochs, mean ± standard deviation over {len(options.seeds)} seeds; {machine()}\n")
    sized = {name: f"{name}, {in_units(NETWORKS[name]().num_parameters())}" for name in options.rows}
    print(markdown("network", ARRANGEMENTS, {sized[name]: row for name, row in accuracies.items()}))


def deep_perceiver(side: int, depth: int) -> PreTrainedModel:
    """Return a Perceiver that reads M = side^2 pixels once, and then has `depth` layers, of the same weights."""
    sizes = {"latents": 128, "dim": 128, "blocks": depth, "cross_attends": 1, "self_attends": 1, "cross_dim": 64}
    return PerceiverForImageClassification(ImagePerceiverConfig(image_size=side, bands=16, **sizes))


def deep_transformer(side: int, depth: int) -> PreTrainedModel:
    """Return a transformer of `depth` layers over all pixels, as wide."""
    sizes = {"hidden_size": 128, "intermediate_size": 128, "num_hidden_layers": depth, "num_attention_heads": 8}
    return ViTForImageClassification(ViTConfig(image_size=side, patch_size=1, **sizes))


DEEP = {"Perceiver": (deep_perceiver, (8, 104)), "transformer": (deep_transformer, (1, 3))}  # and depths compared


def exponent(sizes: Sequence[int], values: Sequence[float]) -> str:
    """Return e of value = c M^e, by least squares of the logarithms; a dash for what is lost in noise, 0 or less."""
    return f"{np.polyfit(np.log(sizes), np.log(values), 1)[0]:.2f}" if min(values) > 0 else "-"


def measure(name: str, sides: Sequence[int], options: argparse.Namespace) -> dict[str, list[float]]:
    """Return a figure a side for each measure: what does not depend on depth, a layer, and memory at both depths."""
    build, (few, many) = DEEP[name]
    models = {(side, depth): build(side, depth).eval().to(options.device) for side in sides for depth in (few, many)}
    pictures = {side: torch.randn(1, 3, side, side, device=options.device) for side in sides}
    runs = {key: _run(model, pictures[key[0]]) for key, model in models.items()}
    best = fastest(runs, options.rounds, options.device)
    weights = {key: sum(p.nbytes for p in model.parameters()) for key, model in models.items()}
    memory = {key: ((peak_memory(m, pictures[key[0]]) or 0) - weights[key]) / 2**20 for key, m in models.items()}
    layer = [(best[side, many] - best[side, few]) / (many - few) for side in sides]
    return {
        "ms beside the layers": [best[side, few] - few * each for side, each in zip(sides, layer, strict=True)],
        "ms a layer": layer,
        f"MiB, {few} layers": [memory[side, few] for side in sides],
        f"MiB, {many} layers": [memory[side, many] for side in sides],
    }


def fastest(
    runs: dict[tuple[int, int], Callable[[], object]], rounds: int, device: str
) -> dict[tuple[int, int], float]:
    """Return milliseconds of each, the least of several rounds in which all take turns; a round before warms up."""
    best = dict.fromkeys(runs, float("inf"))
    for turn in range(rounds + 1):
        for key, run in runs.items():
            started = clock(device)
            run()
            if turn:
                best[key] = min(best[key], 1e3 * (clock(device) - started))
    return best


def _run(model: nn.Module, pictures: Tensor) -> Callable[[], object]:
    @torch.no_grad()
    def run() -> object:
        logits = model(pictures).logits
        return logits.sum().item()  # a GPU is waited for

    return run


def cost(options: argparse.Namespace) -> None:
    """Measure both networks at every size, and print a table of each with the fitted exponents."""
    torch.set_num_threads(1)
    where = f"{machine()}, one thread, processor's time" if options.device == "cpu" else machine()
    print(f"One picture, forward, the fastest of {options.rounds} runs; weights are not in the memory; {where}")
    for name, sides in (("Perceiver", options.sides), ("transformer", options.transformer_sides)):
        figures = measure(name, sides, options)
        print(f"\n| {name}: M | {' | '.join(figures)} |\n|---|{'---:|' * len(figures)}")
        for i, side in enumerate(sides):
            print(f"| {side**2:,} | {' | '.join(f'{values[i]:.2f}' for values in figures.values())} |")
        fitted = [exponent([s**2 for s in sides], values) for values in figures.values()]
        print(f"| exponent of M | {' | '.join(fitted)} |", flush=True)


def main() -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    benchmarks = parser.add_subparsers(dest="benchmark", required=True)
    pixels = benchmarks.add_parser("permuted")
    pixels.add_argument("--rows", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    pixels.add_argument("--pictures", type=int, default=6000)
    pixels.add_argument("--test-pictures", type=int, default=10000)
    pixels.add_argument("--epochs", type=int, default=10)
    pixels.add_argument("--batch-size", type=int, default=64)
    pixels.add_argument("--learning-rate", type=float)
    pixels.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    pixels.add_argument("--device", default="cpu")
    pixels.add_argument("--out", type=Path, default=Path("runs/perceiver.json"), help="where results are kept")
    growth = benchmarks.add_parser("cost")
    growth.add_argument("--sides", type=int, nargs="+", default=[64, 96, 128, 192, 256, 384])
    growth.add_argument("--transformer-sides", type=int, nargs="+", default=[16, 24, 32, 48, 64])
    growth.add_argument("--rounds", type=int, default=5)
    growth.add_argument("--device", default="cpu")
    options = parser.parse_args()
    (permuted_pixels if options.benchmark == "permuted" else cost)(options)


if __name__ == "__main__":
    main()
