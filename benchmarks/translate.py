"""Translators beside each other: `python -m benchmarks.translate`, the table of issue 7 (SHFIN's paper, table 3).

The encoder mixes by attention, SHFIN, FNet or AFNO, all else equal: the same pairs, subwords, steps and seeds, by one
recipe of `overtone train --task translate`, through `overtone.tasks.train`; SHFIN with a gate too, and as
cross-attention. BLEU (sacrebleu, 13a) and chrF of test sentences, 4 beams, mean and standard deviation over seeds.
Runs are kept, so that a change of decoding asks for no training.

Beside them: trained parameters; multiply-adds of a pair of 128 + 128 tokens; milliseconds for 64 sentences of 128 and
of 1,024 tokens through the encoder, the median of rounds in which all take turns; and the peak memory of a step of
training without the optimiser: weights, and what forward and backward pass of 16 pairs of 128 + 128 tokens take.
"""

import argparse
import re
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from benchmarks.table import clock, kept, machine
from transformers import PreTrainedTokenizerFast

from overtone.counting import in_units, multiply_adds
from overtone.data.parallel import ParallelSplits, Sentences, load_parallel, train_subwords
from overtone.models import ShfinForTranslation
from overtone.tasks import TrainConfig, train
from overtone.tasks.bench import peak_on_cpu, peak_on_cuda
from overtone.tasks.runs import finished_by
from overtone.tasks.translate_presets import TRANSLATION_PRESETS
from overtone.tasks.translate_reporting import scored
from overtone.tasks.translate_training import token_loss
from overtone.tasks.translator import BEAMS, LENGTH_PENALTY, Translator

GATED = "SHFIN, gated"
ROWS: dict[str, dict[str, str]] = {
    "attention": {"mixer": "attention"},
    "SHFIN": {"mixer": "shfin"},
    GATED: {"mixer": "shfin"},
    "FNet": {"mixer": "fnet"},
    "AFNO": {"mixer": "afno"},
    "SHFIN, SHFIN cross-attention": {"mixer": "shfin", "cross": "shfin"},
}
SENTENCES, LENGTHS, TRAINED = 64, (128, 1024), 16
SCORES = "scores.json"


def write_pairs(splits: ParallelSplits, pairs: int | None, tests: int | None, folder: Path) -> None:
    """Write the parts as aligned files, of the training and of the test pairs no more than so many."""
    most = {"train": pairs, "val": None, "test": tests}
    for part, number in most.items():
        sentences: Sentences = getattr(splits, part)
        some = sentences.select(range(min(number or len(sentences), len(sentences))))
        for language, texts in ((splits.source_language, some.source), (splits.target_language, some.target)):
            (folder / f"{part}.{language}").write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")


def recipe(row: str, size: str) -> str:
    """Return the name of the recipe of this size with the row's encoder, and have it known by it."""
    name, preset = f"{size}: {row}", TRANSLATION_PRESETS[size]
    TRANSLATION_PRESETS[name] = replace(preset, sizes={**preset.sizes, "gated": row == GATED})
    return name


def score(row: str, seed: int, data: Path, out: Path, options: argparse.Namespace) -> dict[str, float]:
    """Return the scores of one network on the test sentences: of the run in `out`, trained now where there is none."""
    if finished_by(out):
        splits = load_parallel(str(data), 0)
        report = scored(row, Translator.load(out, options.device), splits.test)
        return {score.name: score.value for score in report.scores}
    shutil.rmtree(out, ignore_errors=True)  # of an interrupted benchmark
    config = TrainConfig(
        str(data),
        out=str(out),
        task="translate",
        preset=recipe(row, options.size),
        steps=options.steps,
        batch_size=options.batch_size,
        seed=seed,
        device=options.device,
        **ROWS[row],  # type: ignore[arg-type]
    )
    return {score.name: score.value for score in train(config).report.scores}  # type: ignore[union-attr]


def scores(options: argparse.Namespace, data: Path) -> dict[str, dict[str, list[float]]]:
    """Return the scores of every row with every seed, by row and name; those kept in `options.out` as they are."""
    preset = TRANSLATION_PRESETS[options.size]
    batch, steps = options.batch_size or preset.batch_size, options.steps or preset.steps
    some = f"{options.pairs or 'all'} and {options.test_pairs or 'all'} pairs of {options.data}"
    found: dict[str, dict[str, list[float]]] = {row: defaultdict(list) for row in options.rows}
    for seed in options.seeds:
        for row in options.rows:
            run = f"{options.size}, {some}, {steps} steps of {batch}, {row}, seed {seed}"
            key = f"{run}; {BEAMS} beams, length penalty {LENGTH_PENALTY}"
            out = options.out / re.sub(r"\W+", "-", run)
            started = clock(options.device)
            figures = kept(options.out / SCORES, key, partial(score, row, seed, data, out, options))
            said = ", ".join(f"{name} {value:.2f}" for name, value in figures.items())
            print(f"{run}: {said}; {(clock(options.device) - started) / 60:.0f} minutes", flush=True)
            for name, value in figures.items():
                found[row][name].append(value)
    return found


def network(row: str, size: str, tokenizer: PreTrainedTokenizerFast) -> ShfinForTranslation:
    """Return a network of a row with random weights, the same in every run."""
    torch.manual_seed(0)
    return ShfinForTranslation(TRANSLATION_PRESETS[recipe(row, size)].network(tokenizer, **ROWS[row])).eval()


def tokens(model: ShfinForTranslation, sentences: int, length: int) -> torch.Tensor:
    """Return sentences of so many random subwords."""
    return torch.randint(4, model.config.vocab_size, (sentences, length), device=model.device)


def costs(models: dict[str, ShfinForTranslation], rounds: int) -> dict[str, dict[str, str]]:
    """Return what each network costs, by row and column."""
    found: dict[str, dict[str, str]] = {}
    for row, model in models.items():
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        source = tokens(model, 1, 128)
        work = multiply_adds(model, source, None, source).multiply_adds
        found[row] = {"parameters": in_units(trained), "multiply-adds": in_units(work)}
        found[row]["MiB in training"] = f"{training_memory(model) / 2**20:.0f}"
    for length in LENGTHS:
        runs = {row: _encoding(model, tokens(model, SENTENCES, length)) for row, model in models.items()}
        for row, milliseconds in timed(runs, rounds).items():
            found[row][f"encoder ms, {length:,} tokens"] = f"{milliseconds:.0f}"
    return found


def training_memory(model: ShfinForTranslation) -> int:
    """Return bytes for the weights, and the most that a forward and backward pass have allocated at a time."""
    source = tokens(model, TRAINED, 128)
    model.train()

    def step() -> None:
        model.zero_grad()
        token_loss(model(source, None, source, use_cache=False).logits, source, 0.1).backward()

    step()  # gradients are there before the step that is measured, as in training
    peak = (peak_on_cpu if model.device.type == "cpu" else peak_on_cuda)(step)
    model.zero_grad()
    model.eval()
    return peak + sum(p.nbytes for p in model.parameters())


def timed(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median milliseconds of each, in rounds in which all take turns; a round before warms up."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for turn in range(rounds + 1):
        for row, run in runs.items():
            started = time.perf_counter()
            run()
            if turn:
                seconds[row].append(time.perf_counter() - started)
    return {row: 1e3 * statistics.median(values) for row, values in seconds.items()}


def _encoding(model: ShfinForTranslation, source: torch.Tensor) -> Callable[[], object]:
    @torch.no_grad()
    def run() -> object:
        return model.model.encoder(source).last_hidden_state.sum().item()  # a GPU is waited for

    return run


def spread(values: list[float]) -> str:
    """Return the mean and, of several values, their standard deviation."""
    mean = f"{statistics.mean(values):.1f}"
    return f"{mean} ± {statistics.stdev(values):.1f}" if len(values) > 1 else mean


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="debian-en-de")
    parser.add_argument("--size", choices=list(TRANSLATION_PRESETS), default="tiny")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--steps", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3], help="none: costs alone")
    parser.add_argument("--pairs", type=int, help="to learn from, at most")
    parser.add_argument("--test-pairs", type=int, help="to be judged on, at most")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/translate"), help="where scores and runs are kept")
    return parser.parse_args()


def main() -> None:
    """Train every row with every seed, measure what each costs, and print the table."""
    options = arguments()
    splits = load_parallel(options.data, 0)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "data")
        data.mkdir()
        write_pairs(splits, options.pairs, options.test_pairs, data)
        found = scores(options, data)
        learned = load_parallel(str(data), 0, splits.source_language, splits.target_language).train
        tokenizer = train_subwords(learned, TRANSLATION_PRESETS[options.size].vocabulary, Path(folder, "subwords"))
    models = {row: network(row, options.size, tokenizer).to(options.device) for row in options.rows}
    costing = costs(models, options.rounds)
    print(f"\n{options.size}, {len(learned):,} pairs; {machine()}\n")
    rows = {row: {name: spread(values) for name, values in found[row].items()} | costing[row] for row in options.rows}
    columns = list(rows[options.rows[0]])
    print(f"| encoder | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}")
    for row, cells in rows.items():
        print(f"| {row} | {' | '.join(cells.values())} |")


if __name__ == "__main__":
    main()
