"""The page of an inspection and its readings: every rule on both sides of its threshold."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from overtone.data import Skipped
from overtone.report import Choice, Interval
from overtone.report.inspect_files import inspect_json
from overtone.report.inspect_page import render_inspection
from overtone.report.inspect_reading import chance_overlap, is_hollow, read_neighbours, read_pair, read_side
from overtone.report.inspect_results import InspectReport, Recall, Spectrum, Task, Worth, way_name
from overtone.spectral import embedding_metrics, modality_metrics, partition

NASTY = '<script>alert(1)</script> & "co"\''
VOID = {"meta", "br", "img", "hr", "path", "use", "rect"}
WAYS = ("image → text", "text → image")

SIDE = {
    "rows": 5000.0,
    "samples": 5000.0,
    "width": 512.0,
    "cone": 0.1,
    "mean_energy": 0.1,
    "uniformity": -3.4,
    "collapsed": 0.0,
    "zeros": 0.0,
    "raw/top_energy": 0.1,
    "raw/strong_count": 60.0,
    "raw/weak_count": 40.0,
    "centred/rankme": 380.0,
}
PAIR = {"gap": 0.3, "raw/hellinger": 0.05, "raw/subspace_overlap": 0.6, "chance": 0.125}


def side(**changes: float) -> list[str]:
    figures = SIDE | {name.replace("__", "/"): float(value) for name, value in changes.items()}
    return [reading.word for reading in read_side("image", figures)]


def recall(share: float, change: Interval | None = None, verdict: str | None = None) -> Recall:
    return Recall({k: Interval(share, share - 0.01, share + 0.01) for k in (1, 5, 10)}, change, verdict)


def worth(verdict: str = "hurt", share: float = 0.5) -> list[Worth]:
    change = {"hurt": Interval(-0.1, -0.12, -0.08), "helped": Interval(0.1, 0.08, 0.12)}
    moved = recall(share, change.get(verdict, Interval(0.0, -0.01, 0.01)), verdict)
    whole, kept = {"image": 512, "text": 512}, {"image": 100, "text": 90}
    return [
        Worth("all directions", whole, dict.fromkeys(WAYS, recall(share))),
        Worth("strong and weak", kept, dict.fromkeys(WAYS, moved)),
    ]


TASKS = dict.fromkeys(WAYS, Task(5000, 4000, 0.00025))


def pair(found: list[Worth] | None = None, labelled: bool = False, **changes: float) -> list[str]:
    figures = PAIR | {name.replace("__", "/"): value for name, value in changes.items()}
    return [reading.word for reading in read_pair(figures, worth() if found is None else found, TASKS, labelled)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ["healthy"]),
        ({"rows": 1, "samples": 1}, ["one row"]),
        ({"collapsed": 1, "cone": 0.99}, ["collapsed"]),
        ({"samples": 1}, ["collapsed"]),
        ({"samples": 2499}, ["50\u00a0% copies", "healthy"]),
        ({"samples": 2501}, ["healthy"]),
        ({"rows": 511, "samples": 511}, ["few rows", "healthy"]),
        ({"rows": 512, "samples": 512}, ["healthy"]),
        ({"cone": 0.39}, ["healthy"]),
        ({"cone": 0.4}, ["cone, mean cosine 0.40"]),
        ({"cone": 0.51}, ["cone, mean cosine 0.51"]),
        ({"cone": 0.9}, ["narrow cone, mean cosine 0.90"]),
        ({"zeros": 51}, ["healthy"]),
        ({"zeros": 52}, ["10\u00a0% of the dimensions unused"]),
        ({"raw__strong_count": 0}, ["healthy"]),
        ({"raw__strong_count": 0, "raw__weak_count": 0}, ["nothing but noise"]),
        ({"centred__rankme": 77}, ["healthy"]),
        ({"centred__rankme": 76}, ["few directions, effective rank 76 of 512"]),
        ({"uniformity": -2.0}, ["healthy"]),  # the sphere's is -3.98
        ({"uniformity": -1.98}, ["crowded, uniformity \u22121.98"]),
        ({"uniformity": -1.98, "cone": 0.5}, ["cone, mean cosine 0.50"]),
        ({"cone": 0.6, "zeros": 400}, ["cone, mean cosine 0.60", "78\u00a0% of the dimensions unused"]),
    ],
)
def test_a_side_is_read_by_its_thresholds(changes, words):
    assert side(**changes) == words


@pytest.mark.parametrize(
    ("gap", "word"),
    [
        (0.19, "hardly a gap, 0.19"),
        (0.2, "gap 0.20, smaller than CLIP's"),
        (0.64, "gap 0.64, smaller than CLIP's"),
        (0.82, "gap 0.82, typical of CLIP"),
        (1.0, "gap 1.00, typical of CLIP"),
        (1.01, "gap 1.01, wider than CLIP's"),
    ],
)
def test_a_gap_is_read_by_its_thresholds(gap, word):
    assert pair(gap=gap)[0] == word


def test_spectra_and_subspaces_are_read_by_their_thresholds():
    assert "spectra of different shape" in pair(**{"raw__hellinger": 0.2})
    assert "spectra of different shape" not in pair(**{"raw__hellinger": 0.19})
    assert "subspaces hardly overlap" in pair(**{"raw__subspace_overlap": 0.18})
    assert "subspaces hardly overlap" not in pair(**{"raw__subspace_overlap": 0.19})


@pytest.mark.parametrize(
    ("verdict", "word"),
    [
        ("hurt", "noise carries signal"),
        ("helped", "noise does harm"),
        ("cannot tell", "noise worth nothing measurable"),
    ],
)
def test_the_noise_is_read_by_the_verdict(verdict, word):
    assert pair(worth(verdict))[-1] == word


def test_retrieval_at_chance_is_noticed():
    assert "rows do not match" in pair(worth(share=0.01))  # the interval reaches 0
    assert "rows do not match" not in pair(worth(share=0.02))
    assert pair([]) == ["gap 0.30, smaller than CLIP's"]


def test_names_of_directions():
    assert way_name("image → text", False) == "image → text"
    assert way_name("image → text", True) == "picture → class"
    readings = read_pair(PAIR, worth(), TASKS, True)
    assert "points of R@1 class → picture" in readings[-1].sentence


@pytest.mark.parametrize(("share", "word"), [(0.9, "noise worth little"), (0.89, "noise carries detail")])
def test_neighbours_are_read_by_their_threshold(share, word):
    row = Worth("strong and weak", {"embeddings": 50}, neighbours={1: 0.1, 10: share})
    assert [reading.word for reading in read_neighbours([row])] == [word]
    assert read_neighbours([]) == []


def test_every_reading_names_rule_and_source():
    for reading in [*read_side("image", SIDE), *read_pair(PAIR, worth(), TASKS, False)]:
        assert reading.rule
        assert reading.source
        assert "{" not in reading.word + reading.sentence
        assert not is_hollow(reading)


def test_the_overlap_by_chance():
    assert chance_overlap({"image/width": 512, "image/samples": 5000, "text/samples": 300}) == 37 / 512


def features(rows: int = 60, width: int = 10, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def whole() -> InspectReport:
    x, y = features(), features(seed=1)
    metrics = embedding_metrics(x, y) | {"image/rows": 60.0, "text/rows": 60.0}
    spectra = [
        Spectrum(about, view, partition(F - (F.mean(0) if view == "centred" else 0)))
        for about, F in (("image", x), ("text", y))
        for view in ("raw", "centred")
    ]
    density = [(float(c), float(np.exp(-20 * c**2))) for c in np.linspace(-1, 1, 21)]
    return InspectReport(
        title=f"Inside {NASTY}",
        rows=60,
        sampled=30,
        metrics=metrics,
        spectra=spectra,
        readings=[*read_side("image", SIDE), *read_pair(PAIR, worth(), TASKS, False)],
        worth=worth(),
        tasks=TASKS,
        cosines={"two images": density, "matching": density},
        choices=[Choice("seed", "0", "every draw follows from it")],
        skipped=[Skipped(f"{NASTY} row 3", "holds NaN or infinity")],
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

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.scripts += tag == "script"
        self.ids += [named["id"]] if named.get("id") else []
        self.links += [named["href"][1:]] if tag == "a" and named.get("href") else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_names_stay_text():
    page = render_inspection(whole())
    outline = Outline(page)
    assert outline.open == []
    assert outline.scripts == 0
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*', page)
    assert outline.links == [
        "readings",
        "spectra",
        "worth",
        "cosines",
        "notes",
        "figures",
        "choices",
        "skipped",
    ]
    assert set(outline.links) <= set(outline.ids)
    assert page.count("<svg role=") == 4 + 2 + 1
    assert "mathdefault" not in page
    assert "On 30 of 60 rows, drawn under the seed" in page
    assert page == render_inspection(whole())


def test_the_page_shows_what_it_is_about():
    page = render_inspection(whole())
    for words in (
        "Marchenko-Pastur",
        "RankMe",
        "modality gap",
        "subspace overlap",
        "uniformity",
        "noise alone",
        "R@10",
    ):
        assert words.lower() in page.lower(), words
    for side_ in ("image", "text"):
        assert f"{side_}, rows as they are" in page
        assert f"{side_}, rows less their mean" in page
    assert "noise carries signal" in page
    assert "Liang et al. 2022" in page


def test_one_matrix_has_a_page_of_its_own():
    x = features()
    report = InspectReport(
        title="Inside x.npy",
        rows=60,
        sampled=60,
        metrics={f"embeddings/{k}": v for k, v in modality_metrics(x).items()} | {"embeddings/rows": 60.0},
        spectra=[Spectrum("embeddings", "raw", partition(x))],
        readings=read_side("embeddings", SIDE),
        worth=[Worth("noise alone", {"embeddings": 10}, neighbours={1: 0.4, 5: 0.5, 10: 0.6})],
    )
    page = render_inspection(report)
    assert Outline(page).links == ["readings", "spectra", "worth", "figures"]
    assert "nearest neighbours" in page
    assert "R@1" not in page
    assert report.summary == "Embeddings: healthy."


@pytest.mark.parametrize("F", [torch.zeros(5, 4), torch.ones(1, 4), torch.ones(6, 4), torch.eye(3)], ids=str)
def test_a_spectrum_of_nothing_is_drawn(F):
    metrics = {f"embeddings/{k}": v for k, v in modality_metrics(F).items()} | {"embeddings/rows": float(len(F))}
    spectrum = Spectrum("embeddings", "raw", partition(F))
    page = render_inspection(InspectReport("Inside x", len(F), len(F), metrics, [spectrum], []))
    assert page.count("<svg role=") == 1


def test_figures_for_machines_hold_no_nan():
    assert '"summary": "Image: healthy. Pair: gap 0.30' in inspect_json(whole())
