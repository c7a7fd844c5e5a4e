"""Where translators lose: `python -m benchmarks.sentence_lengths FOLDER`, BLEU by the length of a test sentence.

It reads what `benchmarks.translate --out FOLDER` has left there: a run for each encoder and seed, all judged on the
same sentences. Lengths are of the source, in words between spaces. Mean and standard deviation over seeds.
"""

import argparse
import csv
import json
from collections import Counter, defaultdict
from pathlib import Path

from benchmarks.translate import spread
from sacrebleu.metrics import BLEU

LENGTHS = (range(1, 4), range(4, 7), range(7, 13), range(13, 21), range(21, 41), range(41, 10**6))


def by_length(translations: Path) -> dict[range, tuple[int, float]]:
    """Return for each range of lengths how many sentences there are, and their BLEU."""
    with translations.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = {}
    for lengths in LENGTHS:
        some = [row for row in rows if len(row["source"].split()) in lengths]
        if some:
            bleu = BLEU().corpus_score([row["translation"] for row in some], [[row["reference"] for row in some]])
            found[lengths] = len(some), bleu.score
    return found


def encoder(run: Path) -> str:
    """Return which encoder a run is of, and how long it was trained."""
    settings = json.loads((run / "config.json").read_text(encoding="utf-8"))
    return f"{settings['preset'].partition(': ')[2]}, {settings['steps']:,} steps"


def main() -> None:
    """Print the table: a row for each range of lengths, a column for each encoder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    runs = sorted(parser.parse_args().folder.glob("*/translations.csv"))
    if not runs:
        parser.error("that folder holds no runs of benchmarks.translate")
    counts: Counter[range] = Counter()
    scores: dict[range, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        for lengths, (count, bleu) in by_length(run).items():
            counts[lengths] = count
            scores[lengths][encoder(run.parent)].append(bleu)
    encoders = list(next(iter(scores.values())))
    print(f"| words | sentences | {' | '.join(encoders)} |\n|---|---:|{'---:|' * len(encoders)}")
    for lengths, row in scores.items():
        print(f"| from {lengths.start} | {counts[lengths]:,} | {' | '.join(map(spread, row.values()))} |")


if __name__ == "__main__":
    main()
