"""The four encodings of `overtone fit --encoding compare` on real pictures: `python -m benchmarks.fit`.

Tancik et al. 2020, table 1, in small: pictures of scikit-image cut to a square and scaled to 128 x 128, a network of
three hidden layers of 256 on 128 frequencies, trained on every second pixel along each axis and tested on those
between. Published, on 512 x 512 natural images: none 19.32, basic 21.71, positional 24.95, Gaussian 25.57 dB.

Needs scikit-image. A network takes about 18 CPU-seconds: 11 CPU-minutes for three pictures and three seeds.
"""

import argparse
import dataclasses
import statistics
from collections.abc import Sequence

from benchmarks.bandwidth import picture
from benchmarks.table import machine

from overtone.data.signals import Signal
from overtone.models.coordinate import ENCODINGS
from overtone.tasks.fit import FitConfig, compare
from overtone.tasks.fit_samples import in_halves, psnr
from overtone.tasks.fit_training import error

PICTURES = ("camera", "chelsea", "astronaut")
Scores = tuple[float, float, float]  # PSNR on the pixels learned from and on those between, CPU-seconds


def measure(name: str, size: int, config: FitConfig) -> dict[str, Scores]:
    """Return what each encoding does on a picture."""
    signal = Signal("picture", picture(name, size).permute(1, 2, 0).numpy())
    trained = compare(config, in_halves(signal, config.seed))
    return {
        encoding: (
            psnr(error(done.network, done.samples, done.samples.train)),
            psnr(error(done.network, done.samples, done.samples.held)),
            done.seconds,
        )
        for encoding, done in trained.items()
    }


def cell(scores: Sequence[Scores]) -> str:
    """Return the PSNR between with its deviation over seeds, and in brackets that on the pixels learned from."""
    train, test, _ = zip(*scores, strict=True)
    spread = f" ± {statistics.stdev(test):.2f}" if len(test) > 1 else ""
    return f"{statistics.mean(test):.2f}{spread} ({statistics.mean(train):.1f})"


def main() -> None:
    """Print a row a picture, the mean, and the CPU time of a network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", nargs="+", default=PICTURES)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options = parser.parse_args()
    config = FitConfig("", encoding="compare", steps=options.steps, device="cpu")
    print(f"Test PSNR in dB (train); {len(options.seeds)} seeds; {machine()}\n")
    print(f"| picture | {' | '.join(ENCODINGS)} |\n|---|{'---:|' * len(ENCODINGS)}")
    found: dict[str, list[Scores]] = {encoding: [] for encoding in ENCODINGS}
    for name in options.pictures:
        runs = [measure(name, options.size, dataclasses.replace(config, seed=seed)) for seed in options.seeds]
        for encoding in ENCODINGS:
            found[encoding] += [run[encoding] for run in runs]
        print(f"| {name} | {' | '.join(cell([run[e] for run in runs]) for e in ENCODINGS)} |", flush=True)
    means = [f"{statistics.mean(test for _, test, _ in found[e]):.2f}" for e in ENCODINGS]
    seconds = [f"{statistics.mean(second for _, _, second in found[e]):.0f}" for e in ENCODINGS]
    print(f"| mean | {' | '.join(means)} |\n| CPU-seconds | {' | '.join(seconds)} |")


if __name__ == "__main__":
    main()
