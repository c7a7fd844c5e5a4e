"""The scores of translations: beside formulas written out, and what sacrebleu says of itself."""

import math
from collections import Counter

import pytest

from overtone.tasks.translate_scores import bleu, scores, sentence_scores, tokens

REFERENCES = ["Der Hund bellt sehr laut.", "Das Paket enthält die Dokumentation für libfoo-1.2.", "Ja, gern!"]
HYPOTHESES = ["Der Hund bellt laut.", "Das Paket enthält die Dokumentation zu libfoo-1.2.", "Ja, gern!"]


def multi_bleu(hypotheses: list[str], references: list[str]) -> float:
    """BLEU of words between spaces without smoothing (Papineni et al. 2002), as multi-bleu.perl has it."""
    hits, totals, lengths = [0] * 4, [0] * 4, [0, 0]
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        h, r = hypothesis.split(), reference.split()
        lengths = [lengths[0] + len(h), lengths[1] + len(r)]
        for n in range(4):
            grams = [Counter(tuple(words[i : i + n + 1]) for i in range(len(words) - n)) for words in (h, r)]
            hits[n] += sum((grams[0] & grams[1]).values())
            totals[n] += sum(grams[0].values())
    mean = sum(math.log(a / b) for a, b in zip(hits, totals, strict=True)) / 4
    return 100 * math.exp(mean + min(0, 1 - lengths[1] / lengths[0]))


def test_the_three_scores() -> None:
    found = {score.name: score for score in scores(HYPOTHESES, REFERENCES)}
    assert list(found) == ["BLEU", "chrF", "tokenised BLEU"]
    assert "tok:13a" in found["BLEU"].signature
    assert "case:mixed" in found["BLEU"].signature
    assert "nc:6|nw:0" in found["chrF"].signature  # chrF, not chrF++
    assert found["BLEU"].value == pytest.approx(bleu(HYPOTHESES, REFERENCES), rel=1e-12)
    assert found["BLEU"].half_width is not None
    assert found["BLEU"].half_width > 0
    apart = [[tokens(text) for text in texts] for texts in (HYPOTHESES, REFERENCES)]
    assert found["tokenised BLEU"].value == pytest.approx(multi_bleu(*apart), rel=1e-9)
    assert found["tokenised BLEU"].half_width is None
    assert all(score.value == pytest.approx(100) for score in scores(REFERENCES, REFERENCES))


def test_words_and_signs_set_apart() -> None:
    assert tokens("Ja, das E-Mail-Programm 1.2 geht's an (siehe \u201elibfoo\u201c)!") == (
        "Ja , das E-Mail-Programm 1.2 geht's an ( siehe \u201e libfoo \u201c ) !"
    )


def test_nothing_translated_is_scored_zero() -> None:
    assert [score.value for score in scores(["", ""], ["Ja.", "Nein."])] == [0, 0, 0]
    assert sentence_scores(["", "Nein."], ["Ja.", "Nein."]) == [0, 100]
