"""The report of a pre-training: the page, the figures for machines, and the card."""

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from overtone.report.pretrain import Measure, PretrainReport, Retrieved, ZeroShotScore
from overtone.report.pretrain_files import curves_csv, pretrain_card, pretrain_json, write_pretrain_figures
from overtone.report.pretrain_page import render_pretrain
from overtone.report.results import Choice, Interval, Skipped

NASTY = "<script>alert(1)</script> & $x$ \"'"
HALF = Interval(0.5, 0.4, 0.6)


def whole() -> PretrainReport:
    recalls = {1: Interval(0.125, 0.1, 0.15), 5: HALF, 10: Interval(0.75, 0.7, 0.8)}
    return PretrainReport(
        title=f"Pre-trained on {NASTY}",
        summary="12.5 % of 1,000 test pictures find a caption of theirs first.",
        retrieval=[
            Retrieved("pictures to texts", 1000, 5000, recalls),
            Retrieved("texts to pictures", 5000, 1000, recalls),
        ],
        zero_shot=[ZeroShotScore(NASTY, 870, 290, HALF)],
        spectrum=[Measure("pair/gap", 0.82, "modality gap |mean x - mean y|")],
        metrics={"pair/gap": 0.82, "image/cone": 0.1},
        panels={
            "Loss": {"loss": [(1, 5.0), (2, 4.0), (3, float("nan"))]},
            "Pictures to texts": {"R@1": [(0, 0.01), (3, 0.125)], "R@5": [(0, 0.1), (3, 0.5)]},
            f"Of {NASTY}": {NASTY: [(0, 0.82)]},
        },
        choices=[Choice("steps", "3", "set by you")],
        skipped=[Skipped(NASTY, "not a picture")],
        notes=[f"Look at {NASTY}."],
    )


class Outline(HTMLParser):
    """Ids, links within the page, scripts, and what charts say of themselves."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.charts: list[str] = []
        self.scripts = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.scripts += tag == "script"
        if identity := named.get("id"):
            self.ids.append(identity)
        if (link := named.get("href") or "").startswith("#"):
            self.links.append(link[1:])
        if tag == "svg" and named.get("role") == "img":
            self.charts.append(str(named["aria-label"]))


def test_the_page_shows_all_there_is() -> None:
    page = render_pretrain(whole())
    outline = Outline(page)
    assert outline.links == ["retrieval", "zero-shot", "notes", "curves", "spectrum", "choices", "skipped"]
    assert set(outline.links) <= set(outline.ids)
    assert outline.scripts == 0
    assert "<script>" not in page
    assert [chart.split(" by step")[0] for chart in outline.charts][:2] == ["Loss", "Pictures to texts"]
    assert "loss from 5 to 4" in outline.charts[0]  # the last point is no number
    text = re.sub(r"<[^>]+>", " ", page).replace("\u00a0", " ").replace("&nbsp;", " ")
    for part in ("12.5 %", "1,000 among 5,000", "870 pictures", "290 names", "0.82", "not a picture", "set by you"):
        assert part in text
    assert page == render_pretrain(whole())


def test_what_is_empty_is_left_out() -> None:
    page = render_pretrain(PretrainReport("Pre-trained on x", "Nothing was held out."))
    assert Outline(page).links == []
    assert "<h2>" not in page


def test_the_files(tmp_path: Path) -> None:
    write_pretrain_figures(whole(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "curves.csv",
        "metrics.json",
        "report.html",
        "skipped.csv",
    ]
    found = json.loads(pretrain_json(whole()))
    assert found["retrieval"][0]["recalls"]["1"] == {"value": 0.125, "low": 0.1, "high": 0.15}
    assert found["zero_shot"][0]["accuracy"]["value"] == 0.5
    assert found["spectrum"] == {"pair/gap": 0.82, "image/cone": 0.1}
    assert found["skipped"] == 1
    rows = list(csv.DictReader(io.StringIO(curves_csv(whole()))))
    assert rows[0] == {"chart": "Loss", "curve": "loss", "step": "1", "value": "5"}
    assert len(rows) == 8


def test_the_card() -> None:
    card = pretrain_card(whole(), {"library_name": "overtone", "tags": ["sde"]})
    _, header, body = card.split("---\n", 2)
    assert yaml.safe_load(header) == {"library_name": "overtone", "tags": ["sde"]}
    for part in ("overtone adapt DATA --model", "| pictures to texts, 1,000 among 5,000 |", "R@10", "set by you"):
        assert part in body
    assert "<script>" not in body
    empty = pretrain_card(PretrainReport("x", "y"), {})
    assert "Retrieval" not in empty


@pytest.mark.parametrize("share", [True, False])
def test_shares_are_in_percent(share: bool) -> None:
    title = "Pictures to texts" if share else "Modality gap"
    page = render_pretrain(PretrainReport("x", "y", panels={title: {"a": [(0, 0.1), (1, 0.9)]}}))
    assert ("80\u00a0%" in page) == share
