"""FARL's own questions, asked of real pictures: `python -m benchmarks.farl_questions TABLE`.

The embedded model learns 82 of the 327 base concepts, drawn under the seed, and is tested in two styles that it never
learned from: on these concepts, and on the 290 that are new, each among its own. Settings are those chosen on training
pictures alone (benchmarks/few_shot.py); a row changes one thing. Tables by name:

`streams`: what phase and amplitude give. A stream is taken away by showing its tokens a grey picture, or spoiled by
noise; with both taken away the same parameters read nothing, and with the picture itself in both there is no Fourier
transform.
`layers`: the first block that tokens enter (otherwise the second of three). `tokens`: how many (otherwise five). `mix`:
amplitude mix as augmentation (otherwise none). What they are to be compared with stands in `streams`.
`rivals`: the ways of adapting beside each other. After one shot (Noto), what a method has to choose is chosen in
Twemoji; after two, nothing is left to choose by.

Options: `--rows`, `--seeds`, `--plot`. Results are kept in `--out`, so that a run that was stopped goes on.
"""

import argparse
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import matplotlib.pyplot as plt
import torch
from benchmarks.few_shot import accuracy, summarise
from benchmarks.table import kept, machine, markdown
from matplotlib.figure import Figure
from torch import Tensor
from transformers.utils import logging

from overtone.data import ImageSet, emoji_part
from overtone.data.emoji import TEST_STYLES, TRAIN_STYLES
from overtone.farl import Adapter, FarlModel, Views, recipe_for
from overtone.farl.fitting import Source, average_pictures
from overtone.farl.methods import METHODS, Fitted, method
from overtone.farl.methods.tokens import TokensFitted
from overtone.farl.methods.zero_shot import FrozenTower
from overtone.farl.views import Pixels
from overtone.models.backbone import EMBEDDED, load_backbone
from overtone.spectral import amplitude_only, phase_only

View = Callable[[Tensor], Tensor]
CONCEPTS, TEMPLATES = 82, ("{}",)
CELLS = ("seen, other styles", "unseen, other styles", "H, other styles")
PROTOTYPES_ALONE = "prototypes, nothing trained"
RIVALS = (*(name for name in METHODS if "+" not in name), PROTOTYPES_ALONE)  # without their mixtures


def grey(x: Tensor) -> Tensor:
    """Return pictures (batch, 3, h, w) without content, at their mean."""
    return x.mean((-2, -1), keepdim=True).expand_as(x)


def unchanged(x: Tensor) -> Tensor:
    """Return the pictures themselves."""
    return x


def noisy(x: Tensor) -> Tensor:
    """Return pictures of noise at the mean and deviation of `x`: the same noise for the same picture."""
    seed = int(x.double().sum().mul(1e6)) % 2**31
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)).to(x)
    return x.mean((-2, -1), keepdim=True) + noise * x.std((-2, -1), keepdim=True)


def noisy_phase(x: Tensor) -> Tensor:
    """Return the phase-only view of noise: a phase that says nothing of `x`."""
    return phase_only(noisy(x))


def noisy_amplitude(x: Tensor) -> Tensor:
    """Return the amplitude-only view of noise: an amplitude that says nothing of `x`."""
    return amplitude_only(noisy(x))


@dataclass(frozen=True)
class Change:
    """In what a row differs from the recipe."""

    method: dict[str, Any] = field(default_factory=dict)
    phase: View = phase_only
    amplitude: View = amplitude_only
    first: int | None = None  # block that tokens enter first
    amplitude_mix: bool = False

    @contextmanager
    def made(self) -> Iterator[None]:
        """Put this row's views and its first block in the place of the library's, which has no options for them."""
        with ExitStack() as stack:
            stack.enter_context(patch("overtone.farl.states.phase_only", self.phase))
            stack.enter_context(patch("overtone.farl.states.amplitude_only", self.amplitude))
            for module in ("states", "model", "cache") if self.first is not None else ():
                stack.enter_context(patch(f"overtone.farl.{module}.first_layer", lambda depth: self.first))
            yield


PLAIN, MODALITY, DEPTH = ({"injection": name} for name in ("plain", "by_modality", "by_depth"))
NAMES = {"MMRL": PLAIN, "FARL by modality": MODALITY, "FARL by depth": DEPTH}
STREAMS: dict[str, tuple[View, View]] = {  # what the structure tokens read, and what the style tokens read
    "phase and amplitude": (phase_only, amplitude_only),
    "phase alone": (phase_only, grey),
    "amplitude alone": (grey, amplitude_only),
    "neither": (grey, grey),
    "exchanged": (amplitude_only, phase_only),
    "the picture in both": (unchanged, unchanged),
    "noise for phase": (noisy_phase, amplitude_only),
    "noise for amplitude": (phase_only, noisy_amplitude),
}
BY_MODALITY = ("phase and amplitude", "phase alone", "amplitude alone", "neither")  # S + T in all layers: no exchange
TABLES: dict[str, dict[str, Change]] = {
    "streams": {"MMRL, no streams": Change(PLAIN)}
    | {f"FARL by depth, {views}": Change(DEPTH, *STREAMS[views]) for views in STREAMS}
    | {f"FARL by modality, {views}": Change(MODALITY, *STREAMS[views]) for views in BY_MODALITY},
    "layers": {
        f"{name}, blocks {first + 1} to 3": Change(NAMES[name], first=first)
        for name in ("MMRL", "FARL by depth")
        for first in (0, 2)
    },
    "tokens": {
        f"{name}, {k} token{'s' * (k > 1)}": Change({**NAMES[name], "tokens": k})
        for name in ("MMRL", "FARL by depth")
        for k in (1, 2, 10, 20)
    },
    "mix": {f"{name}, with amplitude mix": Change(changes, amplitude_mix=True) for name, changes in NAMES.items()},
}


def score_change(change: Change, seed: int) -> dict[str, float]:
    """Adapt as a row says, to two shots, and return the accuracies."""
    backbone = load_backbone(EMBEDDED)
    recipe = recipe_for(backbone, prototypes=False)
    with change.made():
        adapter = Adapter.fit(
            drawn(TRAIN_STYLES, seed),
            backbone,
            replace(recipe.method, **change.method),
            replace(recipe.training, seed=seed),
            amplitude_mix=change.amplitude_mix,
        )
        return scores(TokensFitted(adapter, {}), seed)


def score_rival(name: str, shots: int, seed: int) -> dict[str, float]:
    """Adapt by a method and return the accuracies."""
    validation = drawn(TRAIN_STYLES[1:], seed) if shots == 1 else None
    train, backbone = drawn(TRAIN_STYLES[:shots], seed), load_backbone(EMBEDDED)
    if name == PROTOTYPES_ALONE:
        return scores(PrototypesAlone(backbone, "cpu", train, seed), seed)
    return scores(method(name).fit(backbone, train, validation, TEMPLATES, seed, "cpu"), seed)


@dataclass
class PrototypesAlone(FrozenTower):
    """The frozen model with prototypes: what is left of `farl-prototypes` when nothing is trained."""

    train: ImageSet
    seed: int
    open: bool = True

    def probabilities(self, features: Tensor, classes: Sequence[str], templates: Sequence[str]) -> Tensor:
        """Return the softmax of the cosines with w + b p, or with w where classes have no p."""
        w = self.zero_shot_weights(classes, templates)
        if tuple(classes) == self.train.classes:
            model = FarlModel(self.backbone, recipe_for(self.backbone).method, len(classes))
            views = Views(Pixels(self.train.records, self.backbone.pixels), self.seed)
            source = Source(self.backbone, views, streams=False, device=self.device, cached=False)
            average_pictures(model, source, torch.tensor(self.train.labels))
            w = model.with_prototypes(w)
        return (self.backbone.logit_scale * features @ w.T).softmax(dim=-1)


def drawn(styles: Sequence[str], seed: int) -> ImageSet:
    """Return the concepts of this seed in these styles."""
    images = emoji_part("base", styles)
    rows = torch.randperm(len(images.classes), generator=torch.Generator().manual_seed(seed))[:CONCEPTS]
    return images.of_classes([images.classes[row] for row in sorted(rows.tolist())])


def scores(fitted: Fitted, seed: int) -> dict[str, float]:
    """Return top-1 accuracy on seen and unseen concepts in the styles that were not learned, and the harmonic mean."""
    cells = drawn(TEST_STYLES, seed), emoji_part("new", TEST_STYLES)
    return summarise(
        {
            name: accuracy(fitted.probabilities(fitted.encode(images), images.classes, TEMPLATES), images)
            for name, images in zip(CELLS, cells, strict=False)
            if fitted.open or name.startswith("seen")
        }
    )


def rows_of(table: str) -> dict[str, Callable[[int], dict[str, float]]]:
    """Return each row's function from a seed to accuracies."""
    if table == "rivals":
        return {
            f"{name}, {shots} shot{'s' * (shots > 1)}": partial(score_rival, name, shots)
            for shots in (1, 2)
            for name in RIVALS
        }
    return {name: partial(score_change, change) for name, change in TABLES[table].items()}


def measured(options: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """Return the accuracies of every row by seed; what --out holds already is not measured again."""
    functions = rows_of(options.table)
    rows: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for seed in options.seeds:
        for name in options.rows or functions:
            started = time.perf_counter()
            found = kept(options.out, f"{options.table}: {name}, seed {seed}", partial(functions[name], seed))
            print(f"seed {seed}, {name}: {time.perf_counter() - started:.0f} s", flush=True)
            for cell, value in found.items():
                rows[name][cell].append(value)
    return rows


def draw(rows: dict[str, dict[str, list[float]]]) -> Figure:
    """Return a dot a seed and a bar at the mean, for seen and for unseen concepts side by side."""
    figure, axes = plt.subplots(1, 2, sharey=True, figsize=(9, 0.8 + 0.3 * len(rows)), layout="constrained")
    for axis, cell in zip(axes, CELLS, strict=False):
        for place, row in enumerate(rows.values()):
            values = [100 * value for value in row.get(cell, ())]
            axis.plot(values, [place] * len(values), "o", color="tab:blue", alpha=0.6)
            if values:
                axis.plot(sum(values) / len(values), place, "|", color="black", markersize=14)
        axis.set(xlabel=f"{cell}, top-1 in %", yticks=range(len(rows)), yticklabels=rows)
        axis.grid(axis="x", alpha=0.3)
    axes[0].invert_yaxis()
    return figure


def main() -> None:
    """Measure every row of a table with every seed, print it and draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=[*TABLES, "rivals"])
    parser.add_argument("--rows", nargs="+", help="these rows of the table only")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", type=Path, default=Path("runs/farl_questions.json"))
    parser.add_argument("--plot", help="draw the table in this file")
    options = parser.parse_args()
    logging.disable_progress_bar()
    os.environ["OVERTONE_CACHE"] = ""  # states of one row are no other row's
    rows = measured(options)
    print(f"\nTop-1 in percent, mean ± standard deviation over {len(options.seeds)} seeds; {machine()}\n")
    print(markdown("method", CELLS, rows))
    if options.plot:
        draw(rows).savefig(options.plot, dpi=90)


if __name__ == "__main__":
    main()
