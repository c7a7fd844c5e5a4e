"""How long a translator's beams should be: `python -m benchmarks.length_penalty RUN`, on validation sentences.

A beam's score is its log-probability over its length to the power of the penalty. By each penalty: BLEU and chrF, and
how long the translations are, as a share of their references' length in words (sacrebleu's 13a).
"""

import argparse
from unittest.mock import patch

from benchmarks.table import machine
from sacrebleu.metrics import BLEU, CHRF

from overtone.data.parallel import Sentences, load_parallel
from overtone.data.pixels import evenly
from overtone.tasks import translator

PENALTIES = (0.6, 1.0, 1.2, 1.4, 1.6, 2.0)


def judged(run: translator.Translator, sentences: Sentences, penalty: float) -> str:
    """Return a row of the table."""
    with patch.object(translator, "LENGTH_PENALTY", penalty):
        found = [translated.text for translated in run.translate(sentences.source)]
    bleu = BLEU().corpus_score(found, [sentences.target])
    chrf = CHRF().corpus_score(found, [sentences.target])
    return f"| {penalty} | {bleu.score:.1f} | {chrf.score:.1f} | {bleu.sys_len / bleu.ref_len:.2f} |"


def main() -> None:
    """Translate the sentences by each penalty, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--data", default="debian-en-de")
    parser.add_argument("--sentences", type=int, default=1000)
    options = parser.parse_args()
    run, val = translator.Translator.load(options.run), load_parallel(options.data, 0).val
    sentences = val.select(evenly(len(val), options.sentences).tolist())
    print(f"{len(sentences):,} sentences; {machine()}\n\n| penalty | BLEU | chrF | length |\n|---|---:|---:|---:|")
    for penalty in PENALTIES:
        print(judged(run, sentences, penalty), flush=True)


if __name__ == "__main__":
    main()
