"""The page of a fit: whole, names as text, what is missing seen through, and charts of what was found."""

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from overtone.report import fit_page
from overtone.report.fit import BandwidthCurve, Detail, EncodingRow, FitReport, Learning, Spectra, Trace, View
from overtone.report.fit_page import render_fit, write_fit_report
from overtone.report.results import Choice

NASTY = "<script>alert(1)</script> & $x$ \"'"
SECTIONS = ["result", "notes", "encodings", "signal", "detail", "spectra", "learning", "choices"]


def view(about: str = "") -> View:
    original = np.full((6, 8, 3), 0.5)
    original[:2, :3] = np.nan
    return View(about, original, np.full((6, 8, 3), 0.25), np.abs(original[..., 0] - 0.25))


def whole() -> FitReport:
    row = EncodingRow(
        NASTY, "128 of deviation 3", 197_633, 500, 9.4, 30.0, 23.456, [(1, 10.0), (500, 23.456)], [view()]
    )
    return FitReport(
        title=f"Fit of {NASTY}",
        summary="The network holds this picture at 42.1 dB.",
        tiles=[("PSNR", "42.1 dB", "of 48 samples")],
        views=[view("The middle of axis 1")],
        detail=Detail(np.full((2, 2, 1), 0.5), np.full((8, 8, 1), 0.5)),
        scale=4,
        traces=[Trace("The whole", "seconds", [(0, 1.0), (1, 2.0)], [(0, 1.1), (1, 1.9)], [(0, 0.1), (1, -0.1)])],
        spectra=Spectra("hertz", [1.0, 10.0, 100.0], [1.0, 0.1, 0.0], [1.0, 0.1, 0.001], [0.0, 0.01, 0.001]),
        bandwidth=BandwidthCurve("loo", [1.0, 2.0, 4.0], [0.3, 0.1, 0.2], 2.0),
        learning=Learning([(1, 10.0), (10, 20.0)], [(10, 18.0)], [(1, 9.0), (10, 21.5)], 4),
        encodings=[row],
        choices=[Choice("seed", "0", "every draw follows from it")],
        notes=[f"Look at {NASTY}."],
    )


class Elements(HTMLParser):
    """Ids, links within the page, and whether every element is closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.tags.add(tag)
        self.ids += [named["id"]] if named.get("id") else []  # type: ignore[list-item]
        self.links += [named["href"][1:]] if tag == "a" and named.get("href") else []  # type: ignore[index]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def pictures(page: str) -> list[Image.Image]:
    return [
        Image.open(io.BytesIO(base64.b64decode(held)))
        for held in re.findall(r'src="data:image/webp;base64,([^"]+)', page)
    ]


def test_the_page_is_whole_and_names_stay_text() -> None:
    page = render_fit(whole())
    elements = Elements(page)
    assert elements.open == []
    assert "script" not in elements.tags
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*', page)
    assert elements.links == SECTIONS
    assert set(elements.links) <= set(elements.ids)
    assert page == render_fit(whole())


def test_every_figure_stands_on_the_page() -> None:
    page = render_fit(whole())
    for text in (
        "42.1 dB",
        "The middle of axis 1",
        "23.46",
        "128 of deviation 3",
        "asked at 4 times as many positions",
        "Score of 3 deviations by loo; 2 taken",
        "observed 20.0 dB at the end, predicted 21.5 dB",
        "Amplitude by frequency of original, fit and error",
        "The whole: 2 samples and the fit",
        "Original; chequered where there is none",
    ):
        assert text in page, text


def test_pictures_are_exact_and_what_is_missing_is_seen_through() -> None:
    original, fit, error, *_ = pictures(render_fit(FitReport("Title", "Summary.", views=[view()])))
    pixels = np.asarray(original.convert("RGBA"))
    assert (pixels[:2, :3, 3] == 0).all()
    assert (pixels[2:] == [128, 128, 128, 255]).all()
    assert (np.asarray(fit.convert("RGBA")) == [64, 64, 64, 255]).all()
    assert (np.asarray(error.convert("RGBA"))[:2, :3, 3] == 0).all()


def test_large_pictures_are_made_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_page, "SIDE", 40)
    large = View("", np.zeros((50, 80, 1)), np.zeros((50, 80, 1)), np.zeros((50, 80)))
    assert {picture.size for picture in pictures(render_fit(FitReport("Title", "Summary.", views=[large])))} == {
        (40, 25)
    }


def test_the_brightest_error_is_named() -> None:
    error = np.zeros((10, 10))
    error[:5] = 0.2
    page = render_fit(FitReport("T", "S.", views=[View("", np.zeros((10, 10, 1)), np.zeros((10, 10, 1)), error)]))
    assert "20&nbsp;% of the range" in page


def test_what_is_empty_is_left_out() -> None:
    elements = Elements(render_fit(FitReport("Title", "Summary.")))
    assert elements.links == elements.ids == []


def test_charts_of_little(tmp_path: Path) -> None:
    """One look, one sample, nothing but zeros, a score that falls without end: no chart fails or warns."""
    report = FitReport(
        "Title",
        "Summary.",
        learning=Learning([(1, 200.0)]),
        spectra=Spectra("hertz", [1.0], [0.0], [0.0], [0.0]),
        bandwidth=BandwidthCurve("gcv", [3.0], [0.0], 3.0),
        traces=[Trace("The whole", "sample", [(0, 1.0)], [(0, 1.0)])],
    )
    path = write_fit_report(report, tmp_path / "report.html")
    assert Elements(path.read_text()).links == ["signal", "spectra", "learning"]
