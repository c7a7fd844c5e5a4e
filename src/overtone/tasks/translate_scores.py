"""BLEU and chrF, as sacrebleu computes and signs them, and the tokenised BLEU of the seed's kind."""

import json
import re
from collections.abc import Sequence

from sacrebleu.metrics import BLEU, CHRF

from overtone.report.translation import Score

RESAMPLES = 1000
# Words, with the hyphens, apostrophes, points and commas inside them, and each other sign by itself
TOKEN = re.compile(r"\w+(?:[-'\u2019.,]\w+)*|[^\w\s]")
TOKENISED = "case-sensitive BLEU of words and signs set apart, unsmoothed, as multi-bleu.perl computes it"


def bleu(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Return the corpus BLEU (13a, case-sensitive), 0 to 100."""
    return BLEU().corpus_score(list(hypotheses), [list(references)]).score


def scores(hypotheses: Sequence[str], references: Sequence[str]) -> list[Score]:
    """Return BLEU and chrF with half the width of their 95 % intervals by the bootstrap, and tokenised BLEU."""
    tokenised = BLEU(tokenize="none", smooth_method="none", force=True)
    apart = [[tokens(text) for text in texts] for texts in (hypotheses, references)]
    value = tokenised.corpus_score(apart[0], [apart[1]]).score
    return [
        _signed("BLEU", BLEU(), hypotheses, references),
        _signed("chrF", CHRF(), hypotheses, references),
        Score("tokenised BLEU", value, None, f"{tokenised.get_signature()}: {TOKENISED}"),
    ]


def sentence_scores(hypotheses: Sequence[str], references: Sequence[str]) -> list[float]:
    """Return the chrF of each sentence, 0 to 100: BLEU says little about one alone."""
    chrf = CHRF()
    return [
        chrf.sentence_score(hypothesis, [reference]).score
        for hypothesis, reference in zip(hypotheses, references, strict=True)
    ]


def tokens(text: str) -> str:
    """Return words and signs set apart by spaces, much as Moses' tokeniser does (without its lists of abbreviations).

    The seed's figure is of text that Moses tokenised; it names no script.
    """
    return " ".join(TOKEN.findall(text))


def _signed(name: str, metric: BLEU | CHRF, hypotheses: Sequence[str], references: Sequence[str]) -> Score:
    found = metric.corpus_score(list(hypotheses), [list(references)], n_bootstrap=RESAMPLES)
    signature = str(metric.get_signature())
    described = json.loads(found.format(width=4, signature=signature, is_json=True))
    return Score(name, found.score, described.get("confidence_var", 0.0), signature)
