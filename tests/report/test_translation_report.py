"""The report of a translator: the page, the figures for machines, the card."""

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import yaml

from overtone.report.results import Choice, Skipped
from overtone.report.training import FrequencyMap
from overtone.report.translation import Score, TranslatedSentence, TranslationReport
from overtone.report.translation_files import (
    translation_card,
    translation_json,
    translations_csv,
    write_translation_figures,
)
from overtone.report.translation_page import MOST_WORST, render_translation

NASTY = "<script>alert(1)</script> & $x$ \"'"


def whole() -> TranslationReport:
    sentences = [TranslatedSentence(n, f"source {n}", f"out {n}", f"ref {n}", 100.0 - n) for n in range(1, 31)]
    sentences.append(TranslatedSentence(31, NASTY, NASTY, NASTY, 50.0))
    kept = np.zeros((1, 16), np.uint8)
    kept[0, 8] = kept[0, 9] = kept[0, 7] = 1
    return TranslationReport(
        title=f"Trained on {NASTY}",
        summary="23.4 BLEU and 50.1 chrF on 31 test sentences, en to de.",
        source_language="en",
        target_language="de",
        scores=[Score("BLEU", 23.42, 1.2, "nrefs:1|tok:13a"), Score("tokenised BLEU", 22.0, None, "tok:none")],
        sentences=sentences,
        samples=sentences[-1:],
        panels={"Loss a token": {"training": [(1, 5.0), (2, 4.0)], "validation": [(0, 5.5)]}},
        frequencies=[FrequencyMap("encoder.layers.0", kept)],
        choices=[Choice("steps", "3", "set by you")],
        skipped=[Skipped("train.en:7", "the source is empty")],
        notes=[f"Look at {NASTY}."],
    )


def test_the_page_is_whole_and_text_stays_text() -> None:
    page = render_translation(whole())
    assert "<script>alert" not in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*', page)
    ids, links = re.findall(r' id="([^"]+)"', page), re.findall(r'<a href="#([^"]+)"', page)
    assert links == ["result", "notes", "samples", "worst", "curves", "frequencies", "choices", "skipped"]
    assert set(links) <= set(ids)
    assert "± 1.2 (95 %)" in page
    assert "3 of 16 bins" in page
    assert 'lang="de"' in page
    assert page == render_translation(whole())


def test_the_worst_sentence_comes_first_and_no_more_than_some() -> None:
    page = render_translation(whole())
    worst = page[page.index('<section id="worst">') : page.index('<section id="curves">')]
    shown = re.findall(r'<td class="number">(\d+)</td>', worst)
    assert len(shown) == MOST_WORST
    assert shown[0] == "31"
    assert shown[1] == "30"
    assert f"The first {MOST_WORST} of 31." in worst


def test_what_is_empty_is_left_out() -> None:
    page = render_translation(TranslationReport("Title", "Summary.", "en", "de", [], []))
    assert re.findall(r'href="#([^"]+)"', page) == ["result"]


def test_figures_for_machines() -> None:
    metrics = json.loads(translation_json(whole()))
    assert metrics["scores"]["BLEU"] == {
        "name": "BLEU",
        "value": 23.42,
        "half_width": 1.2,
        "signature": "nrefs:1|tok:13a",
    }
    assert (metrics["sentences"], metrics["languages"], metrics["skipped"]) == (31, ["en", "de"], 1)
    rows = list(csv.DictReader(io.StringIO(translations_csv(whole().sentences))))
    assert len(rows) == 31
    assert rows[-1] == {"number": "31", "chrf": "50.00", "source": NASTY, "translation": NASTY, "reference": NASTY}


def test_the_card() -> None:
    card = translation_card(whole(), {"library_name": "overtone", "language": ["en", "de"]})
    _, front, text = card.split("---\n", 2)
    assert yaml.safe_load(front) == {"library_name": "overtone", "language": ["en", "de"]}
    assert "| BLEU | 23.4 ± 1.2 | nrefs:1\\|tok:13a |" in text
    assert "| steps | 3 | set by you |" in text
    assert "<script>" not in text


def test_all_is_written(tmp_path: Path) -> None:
    write_translation_figures(whole(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "metrics.json",
        "report.html",
        "skipped.csv",
        "translations.csv",
    ]
