"""The report of a training: the page, the figures for machines, the card, and the drawing of frequencies."""

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from overtone.report.frequencies import frequency_chart
from overtone.report.results import Choice, ConfusedPair, Interval, Mistake, Skipped
from overtone.report.training import ClassScore, FrequencyMap, TrainReport
from overtone.report.training_files import classes_csv, metrics_json, training_card, write_training_figures
from overtone.report.training_page import render_training

NASTY = "<script>alert(1)</script> & $x$ \"'"
VOID = {"meta", "img", "br", "link", "input", "hr"}


def whole() -> TrainReport:
    picture = Image.new("RGB", (30, 20), "teal")
    kept = np.zeros((8, 6), np.uint8)
    kept[4, 3] = kept[5, 3] = kept[3, 3] = 1
    return TrainReport(
        title=f"Trained on {NASTY}",
        summary="91.2 % of 1,000 test pictures are told right (89.3 to 92.8).",
        pictures=1000,
        top1=Interval(0.912, 0.893, 0.928),
        top5=Interval(0.99, 0.98, 0.995),
        classes=[ClassScore(NASTY, 600, 0.95), ClassScore("dog", 400, 0.855)],
        curves={"loss": [(0.5, 1.2), (1, 0.7)], "training accuracy": [(1, 0.8)]},
        confused=[ConfusedPair("dog", NASTY, 3, picture, picture)],
        mistakes=[Mistake(picture, "a/b.png", "sketch", "dog", NASTY, 0.87)],
        confusion=np.array([[570, 30], [58, 342]]),
        confusion_names=[NASTY, "dog"],
        frequencies=[FrequencyMap("stages.0.mixer", kept)],
        choices=[Choice("epochs", "3", "set by you")],
        skipped=[Skipped(NASTY, "not a picture")],
        notes=[f"Look at {NASTY}."],
    )


class Outline(HTMLParser):
    """Ids, links within the page, and whether every element is closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.scripts = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.scripts += tag == "script"
        self.ids += [named["id"]] if named.get("id") else []  # type: ignore[list-item]
        self.links += [named["href"][1:]] if tag == "a" and named.get("href") else []  # type: ignore[index]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_names_stay_text() -> None:
    page = render_training(whole())
    outline = Outline(page)
    assert outline.open == []
    assert outline.scripts == 0
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*', page)
    sections = ["result", "notes", "curves", "frequencies", "pairs", "mistakes", "confusion", "classes", "choices"]
    assert outline.links == [*sections, "skipped"]
    assert set(outline.links) <= set(outline.ids)
    assert "91.20\u00a0%" in page
    assert "3 of 8 x 6 frequencies" in page
    assert page == render_training(whole())


def test_what_is_empty_is_left_out() -> None:
    outline = Outline(render_training(TrainReport("Title", "Summary.", 10, Interval(0.5, 0.2, 0.8))))
    assert outline.links == outline.ids == ["result"]


def test_the_worst_class_comes_first() -> None:
    page = render_training(whole())
    table = page[page.index('<section id="classes">') :]
    assert table.index(">dog<") < table.index("&lt;script&gt;")


def test_the_drawing_fills_what_is_kept_and_frames_zero() -> None:
    kept = np.zeros((4, 5), np.uint8)
    kept[0, 1] = kept[2, 2] = 1
    chart = frequency_chart(kept, "words")
    assert 'viewBox="0 0 5 4"' in chart
    cells = chart[chart.index("<g") : chart.index("</g>")]
    assert re.findall(r'x="(\d)\.06" y="(\d)\.06"', cells) == [("1", "0"), ("2", "2")]
    assert '<rect x="2" y="2" width="1" height="1" fill="none"' in chart


def test_figures_for_machines() -> None:
    metrics = json.loads(metrics_json(whole()))
    assert metrics["top1"] == {"value": 0.912, "low": 0.893, "high": 0.928}
    assert metrics["pictures"] == 1000
    rows = list(csv.DictReader(io.StringIO(classes_csv(whole().classes))))
    assert rows[0] == {"class": NASTY, "pictures": "600", "accuracy": "0.950000"}


def test_the_card() -> None:
    card = training_card(whole(), {"library_name": "overtone", "tags": ["shfin"]})
    _, front, text = card.split("---\n", 2)
    assert yaml.safe_load(front) == {"library_name": "overtone", "tags": ["shfin"]}
    assert "| Top-1 | 91.20 % (89.3 to 92.8) |" in text
    assert "| epochs | 3 | set by you |" in text
    assert "<script>" not in text


def test_all_is_written(tmp_path: Path) -> None:
    write_training_figures(whole(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "classes.csv",
        "metrics.json",
        "report.html",
        "skipped.csv",
    ]


def test_a_confusion_matrix_of_other_classes() -> None:
    report = whole()
    report.confusion_names = ["dog"]
    with pytest.raises(ValueError, match="confusion matrix of 1 classes cannot have the shape"):
        render_training(report)
