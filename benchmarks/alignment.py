"""What SDE gives in pre-training, beside its rivals: `python -m benchmarks.alignment`.

The image tower (SHFIN stages, then attention, Fourier position features) starts new and learns the names of emoji
concepts, as the locked text tower of the embedded model puts them; batches of 256, the same pairs and crops for every
loss under one seed. Judged on concepts never seen, in the styles that were learned from and in another one, by
retrieval among held-out pairs, and by the shape of the embeddings. `--data` takes any pairs that `overtone pretrain`
does; `--image-tower embedded` goes on from the embedded model's, and `--lock none` trains both towers.

Rivals: VICReg's variance and covariance terms (Bardes et al., arXiv 2105.04906, eq. 1 to 4, their weights 25 and 1
over its invariance's 25, which the contrastive loss stands for) and uniformity (Wang and Isola, arXiv 2005.10242,
weight 1, t = 2), each added to InfoNCE. `--rows` ablates SDE term by term.
"""

import argparse
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from benchmarks.table import clock, kept, machine
from torch import Tensor, nn
from torch.nn.functional import normalize, pdist, relu
from transformers.utils import logging

from overtone import training
from overtone.data.pairs import PairSet, check_pairs, load_pairs
from overtone.losses import SDE, InfoNCE, SDEConfig, SigLIP
from overtone.models.assembly import assemble, read_side
from overtone.tasks.pretrain import WEIGHT_DECAY, usual_rate
from overtone.tasks.pretrain_data import SetBatches, read_training
from overtone.tasks.pretrain_judging import Judge, evaluation_pairs, zero_shot_sets
from overtone.tasks.pretrain_model import Objective
from overtone.training import Anneal, Loop, Steps, TrainingConfig

BATCH = 256


class Remembered(nn.Module):
    """A locked text tower that encodes each text once, since its embeddings do not change."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower, self.embeddings = tower, dict[tuple[int, ...], Tensor]()

    @torch.no_grad()
    def forward(self, input_ids: Tensor) -> Tensor:
        """Return the embeddings."""
        texts = [tuple(row[row > 0].tolist()) for row in input_ids]
        if new := [i for i, text in enumerate(texts) if text not in self.embeddings]:
            self.embeddings |= {texts[i]: x for i, x in zip(new, self.tower(input_ids[new]), strict=True)}
        return torch.stack([self.embeddings[text] for text in texts])


class Regularised(nn.Module):
    """InfoNCE with a further term of each modality's features."""

    def __init__(self, term: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.base, self.term = InfoNCE(), term

    def forward(self, image_features: Tensor, text_features: Tensor, logit_scale: Tensor) -> Tensor:
        """Return the loss."""
        terms = self.term(image_features) + self.term(text_features)
        return self.base(image_features, text_features, logit_scale) + terms / 2


def vicreg(x: Tensor) -> Tensor:
    """Return VICReg's variance term and 1/25 of its covariance term, of features scaled to unit variance in all."""
    x = normalize(x, dim=1) * x.shape[1] ** 0.5  # its hinge at 1 is for features that are not on a sphere
    centred = x - x.mean(0)
    covariance = centred.T @ centred / (len(x) - 1)
    variance = relu(1 - (covariance.diagonal() + 1e-4).sqrt()).mean()
    off_diagonal = covariance - covariance.diagonal().diag()
    return variance + off_diagonal.square().sum() / x.shape[1] / 25


def uniformity(x: Tensor) -> Tensor:
    """Return log mean exp(-2 |x - y|^2) over all pairs."""
    return pdist(normalize(x, dim=1)).square().mul(-2).exp().mean().log()


def losses(steps: int) -> dict[str, Callable[[], nn.Module]]:
    """Return what makes each loss: those of the table, then SDE ten times as strong, and the parts of that."""

    def sde(base: type[nn.Module] = InfoNCE, **changes: Any) -> Callable[[], nn.Module]:
        return lambda: SDE(base(), SDEConfig(steps=steps, **changes))

    def tenfold(base: type[nn.Module] = InfoNCE, **changes: Any) -> Callable[[], nn.Module]:
        return sde(base, **({"alpha": (0.5, 0.05), "lam": (1.0, 0.1)} | changes))

    return {
        "InfoNCE": InfoNCE,
        "InfoNCE + SDE": sde(),
        "SigLIP": SigLIP,
        "SigLIP + SDE": sde(SigLIP),
        "InfoNCE + VICReg": lambda: Regularised(vicreg),
        "InfoNCE + uniformity": lambda: Regularised(uniformity),
        "SDE x 10": tenfold(),
        "SDE x 10 around SigLIP": tenfold(SigLIP),
        "SDE x 10, amplify": tenfold(mode="amplify"),
        "SDE x 10, steady": tenfold(alpha=(0.5, 0.5), lam=(1, 1)),
        "SDE x 10, enhancement alone": tenfold(lam=(0, 0)),
        "SDE x 10, strong gains alone": tenfold(parts=("strong",), lam=(0, 0)),
        "SDE x 10, weak gains alone": tenfold(parts=("weak",), lam=(0, 0)),
        "SDE x 10, noise gains alone": tenfold(parts=("noise",), lam=(0, 0)),
        "SDE x 10, spectral loss alone": tenfold(parts=()),
        "SDE x 10, Hellinger alone": tenfold(parts=(), subspace=0),
        "SDE x 10, subspaces alone": tenfold(parts=(), hellinger=0),
    }


TABLE = ("InfoNCE", "InfoNCE + SDE", "SigLIP", "SigLIP + SDE", "InfoNCE + VICReg", "InfoNCE + uniformity")


def named(pairs: PairSet) -> PairSet:
    """Return the pairs with their first caption alone."""
    return replace(pairs, pairs=tuple(replace(pair, captions=pair.captions[:1]) for pair in pairs.pairs))


def train(name: str, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Train with a loss, and return what the model can do then."""
    sides = read_side("image", options.image_tower), read_side("text", "embedded")
    assembly = assemble(*sides, options.lock, name.startswith("SigLIP"), seed)
    if options.lock == "text":
        assembly.model.text = Remembered(assembly.model.text)
    splits = check_pairs(load_pairs(options.data, seed=0))
    objective = Objective(assembly, losses(options.steps)[name](), options.lock)
    pixels = read_training(splits.train, assembly.preparation.size, lambda done, of: None)
    learned = named(splits.train) if options.names else splits.train
    data = SetBatches(learned, pixels, assembly.preparation.tokenize, BATCH, seed)
    settings = TrainingConfig(
        batch_size=BATCH,
        learning_rate=usual_rate(assembly),
        weight_decay=WEIGHT_DECAY,
        seed=seed,
        precision=training.pick_precision("auto", options.device),
        device=options.device,
    )
    loop = Loop(
        doing=name,
        undecayed=objective.undecayed(),
        callbacks=(Anneal(lambda fraction: assembly.model.set_progress(fraction, seed)),),
        steps=Steps(options.steps, measured=options.steps, logged=options.steps),
    )
    started = clock(options.device)
    with tempfile.TemporaryDirectory() as folder:
        training.train(objective, data, None, settings, Path(folder), False, None, loop)
    spent = clock(options.device) - started
    pairs = evaluation_pairs(splits.test, assembly.preparation)
    named_sets = zero_shot_sets(options.data, splits.test, assembly.preparation)
    return Judge(objective, assembly.preparation, pairs, named_sets).measure() | {
        "seconds a step": spent / options.steps
    }


def columns(figures: Iterable[str]) -> dict[str, tuple[str, float]]:
    """Return the table's columns: the name of a figure, and what it is multiplied by."""
    zero_shot = {f"{key.removeprefix('zero_shot/')}, %": (key, 100) for key in figures if key.startswith("zero_shot/")}
    directions = {"pictures to texts": "image_to_text", "texts to pictures": "text_to_image"}
    recalls = {f"R@1 {name}, %": (f"{way}_recall_at_1", 100) for name, way in directions.items()}
    shape = {"RankMe of pictures": "image/raw/rankme", "gap": "pair/gap", "CPU-s a step": "seconds a step"}
    return zero_shot | recalls | {name: (key, 1) for name, key in shape.items()}


def main() -> None:
    """Train with every loss under every seed, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="emoji")
    parser.add_argument("--rows", nargs="+", default=list(TABLE), choices=list(losses(1)), metavar="LOSS")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--lock", choices=["none", "text"], default="text")
    parser.add_argument("--captions", dest="names", action="store_false", help="all captions, not the names alone")
    parser.add_argument("--image-tower", default="shfin")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/alignment.json"), help="where results are kept")
    options = parser.parse_args()
    logging.disable_progress_bar()
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for seed in options.seeds:
        for name in options.rows:
            setting = f"{options.data} {options.image_tower} {options.lock} names={options.names} {options.steps} steps"
            figures = kept(options.out, f"{setting}, {name}, seed {seed}", partial(train, name, seed, options))
            for key, value in figures.items():
                found[name][key].append(value)
            print(f"seed {seed}, {name}: {', '.join(shown(found[name], -1))}", flush=True)
    wanted = columns(found[options.rows[0]])
    print(f"\n{options.data}, {options.steps} steps of {BATCH}, {machine()};", end=" ")
    print(f"mean ± standard deviation over {len(options.seeds)} seeds\n")
    print(f"| loss | {' | '.join(wanted)} |\n|---|{'---:|' * len(wanted)}")
    for name in options.rows:
        print(f"| {name} | {' | '.join(shown(found[name]))} |")


def shown(figures: dict[str, list[float]], one: int | None = None) -> list[str]:
    """Return the columns' figures: the mean and deviation over seeds, or those of one seed."""
    cells = []
    for name, (key, times) in columns(figures).items():
        values = [times * value for value in figures[key]]
        if one is not None:
            cells.append(f"{name} {values[one]:.2f}")
        else:
            deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.2f}{deviation}")
    return cells


if __name__ == "__main__":
    main()
