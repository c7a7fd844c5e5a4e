import csv
import dataclasses
import json
import subprocess
import sys

import pytest
import yaml
from report_samples import HOSTILE

from overtone.report import AdaptReport, model_card, write_classes_csv, write_metrics_json
from overtone.report.results import Choice, ClassRow, Interval


def test_card_has_its_parts_and_front_matter_that_reads_back(plain):
    front = {"license": "apache-2.0", "library_name": "overtone", "tags": ["farl", "a: b"], "name": HOSTILE[4]}
    card = model_card(plain, front)
    _, header, body = card.split("---\n", 2)
    assert yaml.safe_load(header) == front
    headings = [line for line in body.splitlines() if line.startswith("#")]
    assert headings[0] == "# emoji, adapted with 2 pictures a class"
    assert headings[1:] == ["## Data", "## Figures", "## How it was made", "## Limits"]
    assert "| seen classes | 900 |" in body
    assert plain.notes[0] in body


def test_card_of_an_empty_report_has_limits_only():
    card = model_card(AdaptReport("Title", "Summary."), {})
    assert card.startswith("# Title\n\nSummary.\n\n## Limits\n")
    assert "## Figures" not in card


@pytest.mark.parametrize("name", HOSTILE)
def test_names_cannot_break_the_cards_tables(plain, name):
    card = model_card(dataclasses.replace(plain, choices=[Choice(name, "a | b\nc", "how")]), {})
    row = next(line for line in card.splitlines() if line.endswith("| how |"))
    assert row.replace("\\|", "").count("|") == 4
    assert "<" not in row.replace("\\<", "")


def test_classes_read_back_from_csv(tmp_path):
    rows = [ClassRow(name, "seen", 20, 0.25, 0.5) for name in HOSTILE]
    path = write_classes_csv(rows, tmp_path / "classes.csv")
    with path.open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["class"] for row in read] == HOSTILE
    assert read[0] | {"class": ""} == {
        "class": "",
        "part": "seen",
        "pictures": "20",
        "zero_shot": "0.250000",
        "adapted": "0.500000",
        "difference": "0.250000",
        "style": "",
        "structure": "",
    }


def test_what_was_measured_of_a_class_stands_in_the_csv(tmp_path):
    row = ClassRow("cat", "seen", 20, 0.25, 0.5, style=0.125, structure=1.0)
    with write_classes_csv([row], tmp_path / "classes.csv").open(encoding="utf-8", newline="") as file:
        [read] = csv.DictReader(file)
    assert (read["style"], read["structure"]) == ("0.125000", "1.000000")


def test_metrics_read_back_from_json(hostile, tmp_path):
    read = json.loads(write_metrics_json(hostile, tmp_path / "metrics.json").read_text("utf-8"))
    assert read["verdict"] == "helped"
    assert [row["group"] for row in read["comparisons"]] == ["seen classes", "unseen classes", "harmonic mean"]
    assert Interval(**read["comparisons"][0]["difference"]) == hostile.comparisons[0].difference
    assert len(read["domains"]) == len(hostile.domains)
    assert read["sensitivity"]["pictures"] == 256
    assert read["sensitivity"]["style"]["group"] == "amplitude exchanged (style)"
    assert Interval(**read["sensitivity"]["structure"]["adapted"]) == Interval(0.97, 0.96, 0.98)


def test_metrics_without_a_sensitivity_have_none(tmp_path):
    assert "sensitivity" not in json.loads(write_metrics_json(AdaptReport("a", "b"), tmp_path / "m.json").read_text())


def test_statistics_do_not_load_what_draws():
    script = (
        "import sys, overtone.report as r; r.wilson(1, 2); r.AdaptReport\n"
        "assert not {'matplotlib', 'jinja2', 'torch'} & set(sys.modules)\n"
        "assert all(getattr(r, name) for name in r.__all__)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_unknown_name_is_an_attribute_error():
    import overtone.report

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = overtone.report.nothing
