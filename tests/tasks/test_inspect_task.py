"""The verb `inspect` on planted structures: what is there is found, in a stream as in memory, and said in words."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from overtone.data import load_tests
from overtone.data.embeddings import load_embeddings
from overtone.errors import UserError
from overtone.models import load_backbone
from overtone.report.inspect_results import InspectReport
from overtone.spectral import embedding_metrics, modality_metrics
from overtone.tasks import InspectConfig, inspect, inspect_measure, inspect_worth
from overtone.tasks.inspect import judge
from overtone.tasks.inspect_measure import measure

WIDTH = 48


def noise(rows: int, seed: int = 0, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, width)).astype(np.float32)


def signal(rows: int, rank: int, seed: int = 0, strength: float = 6.0) -> np.ndarray:
    """Rank-`rank` signal, so many times as strong as noise of deviation 1."""
    V = np.linalg.qr(noise(WIDTH, 99))[0][:rank]
    return strength * noise(rows, seed, rank) @ V


def related(rows: int, rank: int = 12, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Image and text of one signal, with noise of their own and means that lie `shift` apart."""
    shared = signal(rows, rank, 7)
    x, y = shared + noise(rows, 1), shared + noise(rows, 2)
    y[:, 0] += shift
    x[:, 0] -= shift
    return x, y


def saved(tmp_path: Path, image: np.ndarray, text: np.ndarray | None = None) -> InspectConfig:
    np.save(tmp_path / "image.npy", image)
    if text is not None:
        np.save(tmp_path / "text.npy", text)
    second = "" if text is None else str(tmp_path / "text.npy")
    return InspectConfig(str(tmp_path / "image.npy"), second, out=str(tmp_path / "run"))


def look_at(tmp_path: Path, image: np.ndarray, text: np.ndarray | None = None) -> InspectReport:
    """Return the report without drawing its page."""
    config = saved(tmp_path, image, text)
    return judge(config, *load_embeddings(config.data, config.text), [])


def said(report: InspectReport) -> dict[str, list[str]]:
    return {about: [r.word for r in report.readings if r.about == about] for about in (*report.sides, "pair")}


def test_a_planted_rank_is_divided_rightly(tmp_path):
    report = look_at(tmp_path, signal(3000, 5) + noise(3000, 3))
    parts = next(s.parts for s in report.spectra if s.view == "raw")
    assert parts.strong.count + parts.weak.count == 5
    assert {row.kept: row.directions["embeddings"] for row in report.worth} == {
        "strong and weak": 5,
        "strong alone": parts.strong.count,
        "noise alone": WIDTH - 5,
    }
    kept = {row.kept: row.neighbours[10] for row in report.worth}
    assert kept["strong and weak"] > 0.4 > kept["noise alone"]  # the signal, 36 to 1 in each direction, decides


def test_pure_noise_is_called_so(tmp_path):
    report = look_at(tmp_path, noise(3000))
    assert said(report)["embeddings"] == ["nothing but noise"]
    assert [row.kept for row in report.worth] == ["noise alone"]
    assert report.worth[0].neighbours[10] == 1.0


def test_a_cone_is_called_so(tmp_path):
    words = said(look_at(tmp_path, noise(2000) + 1.2))["embeddings"]
    assert any(word.startswith("cone, mean cosine 0.5") for word in words)  # 1.44 / (1.44 + 1)


def test_a_narrow_cone_is_called_so(tmp_path):
    words = said(look_at(tmp_path, signal(2000, 20) / 6 + noise(2000) + 4))["embeddings"]
    assert any(word.startswith("narrow cone, mean cosine 0.9") for word in words)


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_a_constant_matrix_is_collapsed(tmp_path, value):
    result = inspect(saved(tmp_path, np.full((500, WIDTH), value, np.float32)))
    assert said(result.report)["embeddings"] == ["collapsed"]
    assert result.report.worth == []
    energy = "Nearly everything points one way: 100" if value else "All 500 rows are zero"
    assert result.report.readings[0].sentence.startswith(energy)
    assert (result.folder / "report.html").exists()


def test_a_nearly_constant_matrix_is_collapsed(tmp_path):
    assert said(look_at(tmp_path, 1 + 0.02 * noise(500)))["embeddings"] == ["collapsed"]


def test_unused_dimensions_are_found(tmp_path):
    V = np.linalg.qr(noise(WIDTH))[0][:30].astype(np.float32)
    words = said(look_at(tmp_path, noise(2000, 4, 30) @ V))["embeddings"]
    assert words == ["nothing but noise", "38\u00a0% of the dimensions unused"]


def test_few_directions_are_found(tmp_path):
    words = said(look_at(tmp_path, signal(2000, 2, strength=200) + noise(2000)))["embeddings"]
    assert words[0].startswith("crowded, uniformity \u22121.")
    assert words[1].startswith("few directions, effective rank 6 of 48")


def test_a_healthy_pair_without_a_gap(tmp_path):
    report = look_at(tmp_path, *related(1500))
    words = said(report)
    assert words["image"] == words["text"] == ["healthy"]
    assert words["pair"][0].startswith("hardly a gap")
    assert report.metrics["pair/gap"] < 0.1
    assert report.metrics["pair/raw/subspace_overlap"] > 0.8
    assert report.worth[0].recall["image → text"].at[1].value > 0.9


def test_a_gap_is_measured_and_named(tmp_path):
    report = look_at(tmp_path, *related(1500, shift=10))
    assert report.metrics["pair/gap"] == pytest.approx(0.9, abs=0.1)
    assert said(report)["pair"][0] == f"gap {report.metrics['pair/gap']:.2f}, typical of CLIP"


def test_noise_that_carries_the_match_is_worth_something(tmp_path):
    """The strong directions say nothing about the match, the noise says all."""
    own = noise(800, 5)
    report = look_at(tmp_path, signal(800, 6, 1) + own, signal(800, 6, 2) + own)
    assert "noise carries signal" in said(report)["pair"]
    rows = {row.kept: row.recall["image → text"] for row in report.worth}
    assert rows["noise alone"].at[1].value > 0.95
    assert rows["noise alone"].verdict == "helped"
    assert rows["strong and weak"].at[1].value < 0.02
    assert rows["strong and weak"].verdict == "hurt"


def test_noise_that_hides_the_match_does_harm(tmp_path):
    shared = signal(1500, 8, 7, strength=2.5)
    report = look_at(tmp_path, shared + noise(1500, 1), shared + noise(1500, 2))
    assert "noise does harm" in said(report)["pair"]


def test_rows_in_another_order_are_noticed(tmp_path):
    x, y = related(1500)
    report = look_at(tmp_path, x, np.roll(y, 1, 0))
    assert "rows do not match" in said(report)["pair"]


def test_ranks_are_those_of_a_plain_count():
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((40, 6)), generator.standard_normal((30, 6))
    matching = generator.random((40, 30)) < 0.1
    matching[:, 0] |= ~matching.any(1)
    found = inspect_worth.ranks(*map(torch.from_numpy, (x, y, matching)))
    cosines = x @ y.T
    for i in range(40):
        best = cosines[i][matching[i]].max()
        assert found[i] == (cosines[i][~matching[i]] >= best).sum()


def test_a_tie_counts_against():
    x, matching = torch.ones(4, 3), torch.eye(4, dtype=torch.bool)
    assert inspect_worth.ranks(x, x, matching).tolist() == [3, 3, 3, 3]


def test_several_captions_of_one_picture_are_all_right(tmp_path):
    """Each picture stands three times beside its three captions, and each caption has a twin elsewhere."""
    shared = np.repeat(signal(200, 12, 7), 3, 0)
    y = shared + noise(600, 2)
    y[300:] = y[:300]
    report = look_at(tmp_path, shared, y)
    assert report.metrics["image/rows"] == 600
    assert report.metrics["image/samples"] == 200
    assert report.metrics["text/samples"] == 300
    ways = report.tasks
    assert (ways["image → text"].queries, ways["image → text"].gallery) == (200, 300)
    assert ways["image → text"].chance == pytest.approx(600 / (200 * 300))
    assert ways["text → image"].chance == pytest.approx(600 / (200 * 300))
    # every caption is right for two pictures, of which one is like it
    assert report.worth[0].recall["text → image"].at[1].value > 0.4
    assert any("copies" in word for word in said(report)["image"])
    assert any("copies" in note for note in report.notes)


@pytest.mark.parametrize(("dtype", "rel"), [("float64", 1e-8), ("float32", 1e-3), ("float16", 1e-3)])
def test_a_stream_gives_what_memory_gives(tmp_path, monkeypatch, dtype, rel):
    x, y = (side.astype(dtype) for side in related(700))
    paths = [tmp_path / "x.npy", tmp_path / "y.npy"]
    for path, side in zip(paths, (x, y), strict=True):
        np.save(path, side)
    image, text = load_embeddings(*map(str, paths))
    monkeypatch.setattr(inspect_measure, "CHUNK", 4 * WIDTH * 33)
    found = measure({"image": image, "text": text}, 0)
    tensors = [torch.from_numpy(side.astype("float64" if dtype == "float64" else "float32")) for side in (x, y)]
    expected = embedding_metrics(*tensors)
    # float32: the chunks round otherwise than the whole
    assert {name: found.metrics[name] for name in expected} == pytest.approx(expected, rel=rel, abs=rel)
    alone = measure({"embeddings": image}, 0).metrics
    of_one = modality_metrics(tensors[0])
    assert {name: alone[f"embeddings/{name}"] for name in of_one} == pytest.approx(of_one, rel=rel, abs=rel)


def test_rows_with_nan_are_counted_listed_and_dropped(tmp_path):
    x, y = related(600)
    x[3, 5], x[10], y[400, 0] = np.nan, np.inf, -np.inf
    report = look_at(tmp_path, x, y)
    good = np.delete(np.arange(600), [3, 10, 400])
    assert report.rows == report.metrics["image/samples"] == report.metrics["text/samples"] == 597
    assert [item.source.split("/")[-1] for item in report.skipped] == [
        "image.npy row 4",
        "image.npy row 11",
        "text.npy row 401",
    ]
    expected = embedding_metrics(torch.from_numpy(x[good]), torch.from_numpy(y[good]))
    assert report.metrics["pair/gap"] == pytest.approx(expected["pair/gap"], rel=1e-4)
    assert report.notes[0] == "3 rows with NaN or infinity left out, of both sides of a pair."
    assert look_at(tmp_path, x).notes[0] == "2 rows with NaN or infinity left out."


@pytest.mark.parametrize(("dtype", "scale"), [(np.float32, 1e25), (np.float32, 1e-25), (np.float64, 1e200)])
def test_the_size_of_numbers_is_no_matter(tmp_path, dtype, scale):
    """Their squares are beyond what the type holds."""
    x = noise(300).astype(dtype)
    plain, scaled = (look_at(tmp_path, rows).metrics for rows in (x, x * dtype(scale)))
    assert scaled == pytest.approx(plain, rel=1e-3, abs=1e-5)  # rounding alone


def test_nothing_but_nan_is_an_error_that_leaves_nothing(tmp_path):
    with pytest.raises(UserError, match=r"No row can be used: all 5 hold NaN or infinity, the first of .*row 1"):
        inspect(saved(tmp_path, np.full((5, 4), np.nan)))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("rows", [1, 2, 3, 11])
def test_a_handful_of_rows_is_no_crash(tmp_path, rows):
    report = inspect(saved(tmp_path, noise(rows), noise(rows, 1))).report
    assert len(report.readings) >= 2
    assert ("one row" in said(report)["image"]) == (rows == 1)
    assert rows == 1 or "few rows" in said(report)["image"]


def test_one_dimension_is_no_crash(tmp_path):
    assert look_at(tmp_path, noise(50, 0, 1), noise(50, 1, 1)).rows == 50
    assert look_at(tmp_path, noise(50, 0, 1)).notes[-1].endswith("was not tried: all rows point one way, or nowhere.")


def test_a_sample_is_drawn_from_many_rows_and_said(tmp_path, monkeypatch):
    monkeypatch.setattr(inspect_measure, "SAMPLED", 200)
    x, y = related(900)
    config = saved(tmp_path, x, y)
    first = inspect(config).report
    assert (first.rows, first.sampled) == (900, 200)
    assert first.tasks["image → text"].queries == first.tasks["image → text"].gallery == 200
    page = (tmp_path / "run" / "report.html").read_text()
    assert "On 200 of 900 rows, drawn under the seed" in page
    sides = load_embeddings(config.data, config.text)
    again, other = (judge(replace(config, seed=seed), *sides, []) for seed in (0, 1))
    assert again.worth == first.worth
    assert other.cosines != first.cosines


def test_figures_are_written_for_machines(tmp_path):
    report = inspect(saved(tmp_path, *related(500))).report
    run = tmp_path / "run"
    assert {path.name for path in run.iterdir()} == {
        "inspect.json",
        "metrics.csv",
        "report.html",
        "settings.json",
        "spectra.csv",
        "worth.csv",
    }
    found = json.loads((run / "inspect.json").read_text())
    assert found["metrics"] == report.metrics
    assert [reading["word"] for reading in found["readings"]] == [reading.word for reading in report.readings]
    with (run / "metrics.csv").open() as file:
        assert {row["metric"]: float(row["value"]) for row in csv.DictReader(file)} == report.metrics
    with (run / "spectra.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["side"] == "text" and row["view"] == "raw"]
    assert [row["part"] for row in rows].count("noise") == report.metrics["text/raw/noise_count"]
    with (run / "worth.csv").open() as file:
        assert sum(row["measure"] == "recall image → text" for row in csv.DictReader(file)) == 3 * len(report.worth)
    assert json.loads((run / "settings.json").read_text())["seed"] == 0


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").touch()
    with pytest.raises(UserError, match="is not empty"):
        inspect(saved(tmp_path, noise(20)))
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine.txt"]


def test_the_folder_is_named_after_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("both.npz", image=noise(30), text=noise(30, 1))
    assert inspect(InspectConfig("both.npz:text")).folder == Path("runs/both-1")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"model": "embedded", "text": "y.npy"}, "'y.npy' is one too many"),
        ({"captions": True}, "--captions is for data that a model embeds"),
        ({"text_column": "caption"}, "--text-column is for data"),
        ({"seed": -1}, "--seed -1"),
    ],
)
def test_options_that_do_not_go_together(options, says):
    with pytest.raises(UserError, match=says):
        InspectConfig("x.npy", **options)


def test_a_model_on_labelled_pictures(tmp_path, tiny_model, photos):
    (photos / "noto" / "bad.png").write_bytes(b"no picture")
    config = InspectConfig(str(photos), model=str(tiny_model), out=str(tmp_path / "run"), device="cpu")
    report = inspect(config).report
    assert report.labelled
    assert report.metrics["image/rows"] == 24
    assert report.metrics["text/samples"] == 4
    assert (report.tasks["image → text"].queries, report.tasks["image → text"].gallery) == (24, 4)
    assert list(report.worth[0].recall["image → text"].at) == [1]  # of four classes
    assert [Path(item.source).name for item in report.skipped] == ["bad.png"]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "picture → class" in page
    assert "Zero-shot classification" in page
    backbone = load_backbone(str(tiny_model))
    pictures = [record for record in load_tests(str(photos)).images.records if not record.source.endswith("bad.png")]
    with torch.inference_mode():
        expected = normalize(backbone.image(torch.stack([backbone.preprocess(record.open()) for record in pictures])))
    found = torch.from_numpy(np.load(tmp_path / "run" / "image.npy"))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)  # float32, in another batch
    # what was embedded stays, and says the same when it is looked at by itself
    files = [str(tmp_path / "run" / name) for name in ("image.npy", "text.npy")]
    again = judge(InspectConfig(*files), *load_embeddings(*files), [])
    assert again.metrics == report.metrics
    assert again.worth == report.worth


def test_a_model_on_pictures_with_captions(tmp_path, tiny_model, drawings):
    data = tmp_path / "pairs"
    for level, files in (
        ("train", drawings["noto"][:8]),
        ("val", drawings["noto"][8:12]),
        ("test", drawings["fluent"][:9]),
    ):
        (data / level).mkdir(parents=True)
        for number, file in enumerate(files):
            (data / level / f"{number}.webp").write_bytes(file)
            (data / level / f"{number}.txt").write_text(f"{level} number {'abcdefghijkl'[number]}\nseen in {level}\n")
    config = InspectConfig(str(data), model=str(tiny_model), captions=True, out=str(tmp_path / "run"), device="cpu")
    report = inspect(config).report
    assert not report.labelled
    assert report.metrics["image/rows"] == 18
    assert report.metrics["image/samples"] == 9
    assert report.metrics["text/samples"] == 10
    assert (report.tasks["image → text"].queries, report.tasks["image → text"].gallery) == (9, 10)


def test_pictures_need_a_model(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="name a model, such as --model embedded"):
        inspect(InspectConfig(str(tmp_path)))
    with pytest.raises(UserError, match="No embeddings at 'emoji'"):
        inspect(InspectConfig("emoji"))
