import dataclasses
import html.parser
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from report_samples import HOSTILE, outcomes, sample

from overtone.report import figures, page
from overtone.report.page import render, write_report
from overtone.report.results import AdaptReport, ClassRow, Skipped
from overtone.report.statistics import compare

SECTIONS = {
    "result": "comparisons",
    "domains": "domains",
    "notes": "notes",
    "curves": "curves",
    "pairs": "confused",
    "mistakes": "mistakes",
    "confusion": "confusion",
    "classes": "classes",
    "streams": "streams",
    "sensitivity": "sensitivity",
    "choices": "choices",
    "skipped": "skipped",
}
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Outline(html.parser.HTMLParser):
    """Collects tags, attributes and text, and checks that what is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def ids(self):
        return {attributes["id"] for tag, attributes in self.tags if tag == "section" and "id" in attributes}

    def links(self):
        return [attributes["href"] for tag, attributes in self.tags if tag == "a"]


def test_full_report_has_every_section_and_a_contents_line_to_each(plain):
    outline = Outline(render(plain))
    assert outline.ids() == set(SECTIONS)
    assert set(outline.links()) == {f"#{section}" for section in SECTIONS}


@pytest.mark.parametrize(("section", "field"), SECTIONS.items())
def test_empty_section_is_left_out(plain, section, field):
    empty = None if field in ("confusion", "sensitivity") else type(getattr(plain, field))()
    outline = Outline(render(dataclasses.replace(plain, **{field: empty})))
    assert outline.ids() == set(SECTIONS) - {section}
    assert f"#{section}" not in outline.links()


def test_report_with_nothing_but_a_title_and_a_summary_is_a_page():
    outline = Outline(render(AdaptReport("title", "Nothing was measured.")))
    assert not outline.ids()
    assert "Nothing was measured." in outline.text


def test_verdict_is_said_in_words(plain):
    text = render(plain)
    assert 'class="banner helped"' in text
    assert "Adapting helped: 60\u00a0% → 76\u00a0% on seen classes; unseen classes: cannot tell." in text
    worse = dataclasses.replace(plain, comparisons=[compare("seen classes", *outcomes(500, 0.8, 0.4, 0))])
    assert 'class="banner hurt"' in render(worse)


def test_classes_that_depend_most_on_style_come_first(plain):
    text = render(plain)
    table = text[text.index("<caption>Classes that depend most on style") :].split("</table>")[0]
    shares = [int(share) for share in re.findall(r"number\">(\d+)", table)][::2]
    measured = [row.style for row in plain.classes if row.style is not None]
    assert shares == [round(100 * share) for share in sorted(measured, reverse=True)[:10]]


def test_names_are_text_and_never_markup(hostile):
    outline = Outline(render(hostile))
    tags = {tag for tag, _ in outline.tags}
    assert "script" not in tags
    assert not [name for _, attributes in outline.tags for name in attributes if name.startswith("on")]
    text = "".join(outline.text)
    for name in HOSTILE:
        assert name in text  # as it was given: neither rewritten nor run as a template


def test_charts_show_labels_as_given(hostile):
    label = "a --> b & \"c\" 'DejaVu Sans' #1f2430 $x$ 黒い猫 </svg>"
    chart = figures.comparison_chart([dataclasses.replace(hostile.comparisons[0], group=label)])
    outline = Outline(chart)
    assert outline.tags[0][1]["aria-label"].count(label) == 1
    assert any(label[:40] in text for text in outline.text)


def test_page_loads_nothing(hostile):
    text = render(hostile)
    for tag, attributes in Outline(text).tags:
        assert tag not in {"script", "link", "iframe", "object", "base", "form"}
        for name in ("src", "srcset", "href", "xlink:href", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:image/webp;base64,")), (tag, name, value)
    style = text[text.index("<style>") : text.index("</style>")]
    assert "@import" not in style
    assert "url(" not in style
    assert set(re.findall(r"url\(([^)]{1,2})", text)) <= {"#p"}  # the charts' own clip paths


def test_every_picture_has_a_description(plain):
    for tag, attributes in Outline(render(plain)).tags:
        if tag == "img":
            assert attributes["alt"]
        if tag == "svg" and attributes.get("role") == "img":
            assert attributes["aria-label"]


def test_same_report_gives_the_same_bytes_in_another_process(plain, tmp_path):
    first = write_report(plain, tmp_path / "a.html").read_bytes()
    assert write_report(sample(), tmp_path / "b.html").read_bytes() == first
    script = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from pathlib import Path; from report_samples import sample; from overtone.report import write_report\n"
        f"write_report(sample(), Path({str(tmp_path / 'c.html')!r}))"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
    assert (tmp_path / "c.html").read_bytes() == first


def test_large_matrix_is_cut_to_the_most_confused_classes():
    report = sample(classes=60)
    assert report.confusion is not None
    text = render(report)
    assert "Of 60 classes only the 20 with the most errors are shown." in text
    whole = render(sample(classes=40))
    assert "with the most errors" not in whole
    view = page.confusion_view(report.confusion, report.confusion_names)
    assert view is not None
    errors = report.confusion.sum(0) + report.confusion.sum(1) - 2 * np.diag(report.confusion)
    shown = [report.confusion_names.index(name) for name in view.names]
    assert min(errors[shown]) >= np.sort(errors)[-20]
    assert [[cell.count for cell in row] for row in view.rows] == report.confusion[np.ix_(shown, shown)].tolist()


def test_matrix_that_does_not_fit_its_names_is_refused(plain):
    with pytest.raises(ValueError, match="cannot have the shape"):
        render(dataclasses.replace(plain, confusion=np.ones((3, 3), int)))


def test_gains_and_losses_are_the_biggest_and_in_order():
    rows = [ClassRow(f"c{i}", "seen", 20, 0.5, i / 20) for i in range(21)]
    gains, losses = page._changes(rows, 1), page._changes(rows, -1)
    assert [row.name for row in gains] == [f"c{i}" for i in range(20, 10, -1)]
    assert [row.name for row in losses] == [f"c{i}" for i in range(10)]


def test_a_large_run_still_makes_a_small_page(plain):
    large = dataclasses.replace(
        plain,
        classes=plain.classes * 500,
        mistakes=plain.mistakes * 50,
        confused=plain.confused * 50,
        streams=plain.streams * 50,
        domains=plain.domains * 10,
        skipped=[Skipped(f"{i}.png", "empty file") for i in range(5000)],
        curves={"loss": [(i / 1000, 1 / (i + 1)) for i in range(100_000)]},
    )
    text = render(large)
    assert len(text.encode()) < 3_000_000
    assert "The first 60 of 1200." in text
    assert "5,000&nbsp;inputs could not be used. The first 200 are listed here, all of them in skipped.csv" in text


def test_curves_survive_values_that_are_not_numbers():
    loss = [(1, 2.0), (2, float("nan")), (3, float("inf")), (4, 1.0)]
    charts = figures.curve_charts({"loss": loss, "rate": [(1, 1e-3)]})
    assert len(charts) == 2
    assert figures.curve_charts({"loss": [(1, float("nan"))]}) == []


def test_odd_names_of_files_are_written(plain, tmp_path):
    odd = dataclasses.replace(plain, skipped=[Skipped("caf\udce9.png", "zero \x00 bytes")])
    assert b"caf\\udce9.png" in write_report(odd, tmp_path / "report.html").read_bytes()


def test_failure_leaves_the_old_page_and_nothing_else(plain, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")

    def full(_file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_report(plain, path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_unwritable_place_is_an_os_error(plain, tmp_path):
    with pytest.raises(FileNotFoundError):
        write_report(plain, tmp_path / "nowhere" / "report.html")
