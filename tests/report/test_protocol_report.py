"""The report of a protocol: how figures combine, the table for machines and for eyes, the plot and the page."""

import csv
import io
import itertools
import statistics
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overtone.report import Choice, harmonic_mean
from overtone.report.protocol import Block, Figure, ProtocolReport, Row, Setting, combined
from overtone.report.protocol_figures import panels, plot
from overtone.report.protocol_page import render_protocol, table_csv

METHODS = (
    "zero-shot",
    "linear-probe",
    "tip-adapter",
    "tip-adapter-f",
    "coop",
    "lora",
    "mmrl",
    "mmrl++",
    "farl",
    "farl+wise",
)
shares = st.floats(0.01, 1)


def few_shot(sets: int = 2) -> ProtocolReport:
    """A report of ten methods, one of which could not be measured everywhere."""
    columns = ("0", "1", "2", "4", "8", "16")
    blocks = [
        Block(f"set {i}", tuple(Row(m, tuple(curve(i, j, m))) for j, m in enumerate(METHODS))) for i in range(sets)
    ]
    means = [
        Row(m, tuple(combined([b.rows[j].figures[c] for b in blocks], statistics.mean) for c in range(len(columns))))
        for j, m in enumerate(METHODS)
    ]
    return ProtocolReport(
        "few-shot",
        "few-shot: some sets",
        "By accuracy at 16 shots, farl does best.",
        columns,
        [*blocks, Block("average", tuple(means))],
        across="shots",
        settings=[Setting("farl", "rate", "0.02 (chosen on <validation> shots)")],
        failures=[("coop on set 1, 4 shots, seed 2", "RuntimeError: out of <memory>")],
        choices=[Choice("protocol", "few-shot", "all classes are learned and scored")],
        notes=["A note."],
    )


def curve(block: int, place: int, method: str) -> list[Figure]:
    if method == "zero-shot":
        return [Figure.of({0: 0.3 + 0.1 * block}), *[Figure()] * 5]
    rising = [0.32 + 0.1 * block + 0.02 * place + 0.04 * step for step in range(5)]
    figures = [Figure.of({seed: value + 0.01 * seed for seed in (1, 2, 3)}) for value in rising]
    if (block, method) == (1, "coop"):
        figures[2] = replace(figures[2], failed=1)
        figures[3] = Figure(failed=3)
    return [Figure(), *figures]


def base_to_new() -> ProtocolReport:
    """The same of base and new."""
    report = few_shot()
    rows = [
        Block(
            b.name,
            tuple(Row(r.method, (r.figures[1], r.figures[2], combined(r.figures[1:3], harmonic))) for r in b.rows),
        )
        for b in report.blocks
    ]
    return replace(report, protocol="base-to-new", columns=("base", "new", "H"), blocks=rows, across="")


def transfer() -> ProtocolReport:
    """The same of one block."""
    report = few_shot()
    return replace(
        report, protocol="cross-dataset", columns=("a", "b", "c", "d", "e", "f"), blocks=report.blocks[:1], across=""
    )


def harmonic(pair: list[float]) -> float:  # type: ignore[misc]
    return harmonic_mean(*pair)


REPORTS = [few_shot(), few_shot(1), base_to_new(), transfer()]


@given(st.lists(st.tuples(shares, shares), min_size=2, max_size=5))
def test_the_harmonic_mean_of_means_is_no_mean_of_harmonic_means(pairs: list[tuple[float, float]]) -> None:
    base, new = (Figure.of(dict(enumerate(values))) for values in zip(*pairs, strict=True))
    h = combined([base, new], harmonic)  # type: ignore[arg-type]
    assert h.mean == pytest.approx(statistics.harmonic_mean([base.mean, new.mean]))  # type: ignore[list-item]
    assert h.spread == pytest.approx(statistics.stdev(map(statistics.harmonic_mean, pairs)), abs=1e-12)
    assert h.mean >= statistics.mean(map(statistics.harmonic_mean, pairs)) - 1e-12  # concave: Jensen


def test_what_is_missing_is_not_averaged_over() -> None:
    there, gone, none = Figure.of({1: 0.5, 2: 0.7}), Figure(failed=2), Figure()
    assert str(combined([there, gone], statistics.mean)) == "failed"
    assert str(combined([there, none], statistics.mean)) == "-"
    other = Figure.of({2: 0.1}, failed=1)
    both = combined([there, other], statistics.mean)
    assert (both.mean, both.by_seed, both.spread) == (pytest.approx(0.35), {2: pytest.approx(0.4)}, None)
    assert str(both) == "35.0 (1 failed)"


def test_the_table_in_print() -> None:
    lines = str(few_shot(1)).splitlines()
    assert lines[2].split() == ["set", "0"] + [word for n in (0, 1, 2, 4, 8, 16) for word in (str(n), "shots")]
    assert lines[3].split() == ["zero-shot", "30.0", "-", "-", "-", "-", "-"]
    assert len({len(line) for line in lines[2:13]}) == 1  # columns stand under each other
    assert lines[-1] == "By accuracy at 16 shots, farl does best."


@pytest.mark.parametrize("report", REPORTS)
def test_the_table_for_machines(report: ProtocolReport) -> None:
    rows = list(csv.DictReader(io.StringIO(table_csv(report))))
    assert len(rows) == len(report.blocks) * len(METHODS) * len(report.columns)
    figures = [figure for block in report.blocks for row in block.rows for figure in row.figures]
    for row, figure in zip(rows, figures, strict=True):
        assert row["mean"] == ("" if figure.mean is None else f"{figure.mean:.6f}")
        assert (int(row["seeds"]), int(row["failed"])) == (len(figure.by_seed), figure.failed)


@pytest.mark.parametrize("report", REPORTS)
def test_the_page(report: ProtocolReport) -> None:
    page = render_protocol(report)
    for text in ("Top-1 accuracy in percent", "What failed", "out of &lt;memory&gt;", "&lt;validation&gt;", "A note."):
        assert text in page
    assert page.count('class="number') == (1 + len(METHODS) * len(report.blocks)) * len(report.columns)
    assert page.count('class="chart"') == len(panels(report))


def test_a_page_without_content_has_no_headings() -> None:
    bare = replace(transfer(), settings=[], failures=[], choices=[], notes=[])
    page = render_protocol(bare)
    assert page == render_protocol(bare)
    assert not any(f"<h2>{heading}</h2>" in page for heading in ("What failed", "Hyper-parameters", "What to know"))


def test_the_plot() -> None:
    assert [panel.title for panel in panels(few_shot())] == ["average", "set 0", "set 1"]
    assert [panel.title for panel in panels(base_to_new())] == ["base", "new", "H"]
    drawn = plot(few_shot())
    assert ET.fromstring(drawn).tag.endswith("svg")
    assert drawn == plot(few_shot())


def test_the_best_is_bold() -> None:
    page = render_protocol(transfer())
    bold = [part.split("<")[0] for part in page.split('number best">')[1:]]
    assert bold == [str(curve(0, METHODS.index("farl+wise"), "farl+wise")[c]) for c in range(1, 6)]


def test_methods_can_be_told_apart() -> None:
    from overtone.report.protocol_figures import _style

    styles = [_style(method, METHODS) for method in METHODS]
    assert len(set(styles)) == len(METHODS)
    assert all(a[1] != b[1] for a, b in itertools.pairwise(styles[1:8]))
