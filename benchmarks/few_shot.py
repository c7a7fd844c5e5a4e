"""FARL beside its rivals on the demo's task, in one run: `python -m benchmarks.few_shot`.

The task: adapt on the base concepts with two shots, their Noto and Twemoji pictures; test on the same concepts in
the two other styles, and on concepts never seen, in both pairs of styles. Seen concepts in seen styles are the training
pictures themselves: shown as "fit", no test. Three seeds.

With `--validation`, the same on training pictures alone, to choose settings by: half of the base concepts are adapted
to in Noto (one shot), judged in Twemoji, and the other half stands for concepts never seen. Options set fields of
FarlConfig and TrainingConfig: `--set consistency=1 epochs=20`.
"""

import argparse
import dataclasses
import hashlib
import time
import warnings
from collections import defaultdict
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from benchmarks.table import machine, markdown
from sklearn.linear_model import LogisticRegression
from transformers.utils import logging

from overtone.data import ImageSet, emoji_part
from overtone.data.emoji import TEST_STYLES, TRAIN_STYLES
from overtone.farl import Adapter, FarlConfig, Injection, recipe_for
from overtone.models.backbone import load_backbone
from overtone.report import harmonic_mean
from overtone.training import TrainingConfig

METHODS: dict[str, tuple[Injection, bool]] = {  # injection, and whether classes have prototypes
    "MMRL (no streams)": ("plain", False),
    "FARL by_modality": ("by_modality", False),
    "FARL by_depth": ("by_depth", False),
    "FARL by_modality, prototypes (ours)": ("by_modality", True),
}
PROBE_C = 1.0  # inverse regularisation of the linear probe, chosen on the validation task of 0.1, 1, 10, 100, 1000
Cells = dict[str, ImageSet]
Config = TypeVar("Config", FarlConfig, TrainingConfig)


def test_task() -> tuple[ImageSet, Cells]:
    """Return the pictures to adapt to, and the cells of the table."""
    train = emoji_part("base", TRAIN_STYLES)
    return train, {
        "fit": train,
        "seen, other styles": emoji_part("base", TEST_STYLES),
        "unseen": emoji_part("new", TRAIN_STYLES),
        "unseen, other styles": emoji_part("new", TEST_STYLES),
    }


def validation_task() -> tuple[ImageSet, Cells]:
    """Return the same made of training pictures alone."""
    noto, twemoji = (emoji_part("base", [style]) for style in TRAIN_STYLES)
    half = [name for name in noto.classes if hashlib.sha256(name.encode()).digest()[0] % 2]
    rest = [name for name in noto.classes if name not in half]
    train = noto.of_classes(half)
    return train, {
        "fit": train,
        "seen, other styles": twemoji.of_classes(half),
        "unseen": noto.of_classes(rest),
        "unseen, other styles": twemoji.of_classes(rest),
    }


def accuracy(probabilities: torch.Tensor, images: ImageSet) -> float:
    """Return top-1 accuracy."""
    return (probabilities.argmax(-1).cpu() == torch.tensor(images.labels)).float().mean().item()


def summarise(scores: dict[str, float]) -> dict[str, float]:
    """Add the harmonic mean of seen and unseen concepts, both in the other styles."""
    if "unseen, other styles" in scores:
        scores["H, other styles"] = harmonic_mean(scores["seen, other styles"], scores["unseen, other styles"])
    return scores


def score_adapter(adapter: Adapter, cells: Cells) -> tuple[dict[str, float], dict[str, float]]:
    """Return the accuracies of the adapter and of its backbone in every cell."""
    adapted, zero_shot = {}, {}
    for name, images in cells.items():
        features = adapter.encode_images(images.records, frozen=True)
        adapted[name] = accuracy(adapter.probabilities(features, images.classes), images)
        zero_shot[name] = accuracy(adapter.zero_shot(features, images.classes), images)
    return summarise(adapted), summarise(zero_shot)


def score_probe(adapter: Adapter, train: ImageSet, cells: Cells, seed: int) -> dict[str, float]:
    """Return the accuracies of a linear probe on the backbone's features, on seen concepts, as it knows no others."""
    probe = LogisticRegression(C=PROBE_C, max_iter=1000, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # so many classes for so few samples may be a regression, it says
        probe.fit(_frozen(adapter, train), train.labels)
    return {
        name: float(probe.score(_frozen(adapter, cells[name]), cells[name].labels))
        for name in ("fit", "seen, other styles")
    }


def _frozen(adapter: Adapter, images: ImageSet) -> np.ndarray:
    features = adapter.encode_images(images.records, frozen=True).frozen
    assert features is not None
    return features.cpu().numpy()


def with_settings(config: Config, settings: Sequence[str]) -> Config:
    """Return the config with those of `field=value` that it has a field for."""
    types = {f.name: type(getattr(config, f.name)) for f in dataclasses.fields(config)}
    pairs = [setting.split("=", 1) for setting in settings]
    return dataclasses.replace(config, **{name: types[name](value) for name, value in pairs if name in types})


def main() -> None:
    """Run every method for every seed and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--validation", action="store_true")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--rows", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--set", nargs="*", default=[])
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    logging.disable_progress_bar()
    train, cells = validation_task() if options.validation else test_task()
    backbone = load_backbone(options.model)
    rows: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def add(name: str, scores: dict[str, float]) -> None:
        for cell, value in scores.items():
            rows[name][cell].append(value)

    for seed in options.seeds:
        for label in options.rows:
            injection, prototypes = METHODS[label]
            recipe = recipe_for(backbone, prototypes)
            training = dataclasses.replace(recipe.training, seed=seed, device=options.device)
            started = time.perf_counter()
            method = with_settings(dataclasses.replace(recipe.method, injection=injection), options.set)
            adapter = Adapter.fit(train, backbone, method, with_settings(training, options.set))
            seconds = time.perf_counter() - started
            adapted, zero_shot = score_adapter(adapter, cells)
            if label == options.rows[0]:
                add("zero-shot", zero_shot)
                add("linear probe", score_probe(adapter, train, cells, seed))
            add(label, adapted)
            print(f"seed {seed}, {label}: {seconds:.0f} s to adapt", flush=True)
    columns = [*cells, "H, other styles"]
    print(
        f"\nTop-1 in percent, mean ± standard deviation over {len(options.seeds)} seeds; {machine()}; {options.set}\n"
    )
    print(markdown("method", columns, rows))


if __name__ == "__main__":
    main()
