"""`predict` and `evaluate` as functions."""

import importlib
import json
import shutil
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

import pytest

import overtone as ot
from overtone.errors import UserError
from overtone.tasks import EvaluateConfig, PredictConfig, evaluate, predict
from overtone.tasks.evaluate import UNKNOWN
from overtone.tasks.runs import LEARNED

MODULE = importlib.import_module("overtone.tasks.predict")  # the package's own `predict` is the function


def test_predictions_keep_the_order_and_equal_the_adapters(
    adapted: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stands in a batch, a picture's probabilities are its own; bad ones keep their place."""
    monkeypatch.setattr(MODULE, "BATCH", 4)
    (photos / "noto" / "3.webp").write_bytes(b"no picture")
    paths = [str(photos / "twemoji"), str(photos / "noto" / "*.webp"), str(photos / "fluent" / "0.webp")]
    predictions = list(predict(PredictConfig(str(adapted), tuple(paths), top=3)))
    expected = [photos / "twemoji" / f"{n}.webp" for n in range(6)] + [photos / "noto" / f"{n}.webp" for n in range(6)]
    assert [p.image for p in predictions] == [str(file) for file in (*expected, photos / "fluent" / "0.webp")]
    bad = predictions.pop(9)
    assert (bad.classes, bad.error) == (
        (),
        "not a picture in a format that is read (PNG, JPEG, WEBP, GIF, BMP, TIFF, PPM)",
    )
    adapter = ot.farl.Adapter.load(adapted)
    wanted = adapter.predict([p.image for p in predictions])
    for prediction, row in zip(predictions, wanted.tolist(), strict=True):
        ranked = sorted(zip(adapter.classes, row, strict=True), key=lambda pair: -pair[1])
        assert [name for name, _ in prediction.classes] == [name for name, _ in ranked]
        assert [p for _, p in prediction.classes] == pytest.approx([p for _, p in ranked], abs=1e-4)


def test_predictions_are_made_as_they_are_asked_for(
    adapted: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MODULE, "BATCH", 2)
    made = predict(PredictConfig(str(adapted), (str(photos),)))
    next(made)
    for file in photos.rglob("*.webp"):
        file.write_bytes(b"")
    later = list(made)
    assert [p.error is None for p in later] == [True] + [False] * 22


def test_only_bad_pictures(adapted: Path, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(b"")
    made = predict(PredictConfig(str(adapted), (str(tmp_path),)))
    assert [next(made).error, next(made).error] == ["the file is empty (0 bytes)"] * 2
    with pytest.raises(UserError, match=r"No picture can be read. The first of 2, '.*a.png': the file is empty"):
        next(made)


def test_classes_from_a_file(adapted: Path, photos: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("a, b\nbig_dog\n\nnoto\n", encoding="utf-8-sig")
    prediction, *_ = predict(PredictConfig(str(adapted), (str(photos),), classes=str(names), top=9))
    assert {name for name, _ in prediction.classes} == {"a, b", "big dog", "noto"}


def groups(config: EvaluateConfig) -> dict[str, int]:
    return {row.group: row.pictures for row in evaluate(config).comparisons}


def test_all_pictures_are_scored_where_nothing_sets_test_pictures_apart(
    adapted: Path, tmp_path: Path, drawings: dict[str, list[bytes]], write_classes: Callable[..., Path]
) -> None:
    """One of the four styles was not adapted to, and alone would always be right."""
    photos = write_classes(tmp_path / "new", {style: files[10:16] for style, files in drawings.items()})
    assert groups(EvaluateConfig(str(adapted), str(photos))) == {"seen classes": 18}
    (photos / "twemoji").rename(photos / "dog")
    (photos / "noto").rename(photos / "cat")
    assert groups(EvaluateConfig(str(adapted), str(photos))) == {
        "seen classes": 12,
        "unseen classes": 12,
        "harmonic mean": 24,
    }
    (photos / "fluent").rename(photos / "Fluent")  # the same class for all that
    assert groups(EvaluateConfig(str(adapted), str(photos)))["seen classes"] == 12


def test_pictures_learned_from_are_left_out_wherever_they_lie(adapted: Path, photos: Path) -> None:
    """Of a copy of the run's own data, under other names, what it held out is left."""
    for file in [*photos.rglob("*.webp")]:
        file.rename(file.with_stem(f"again-{file.stem}"))
    report = evaluate(EvaluateConfig(str(adapted), str(photos)))
    made = json.loads((adapted / "metrics.json").read_text())
    assert report.comparisons[0].pictures == made["comparisons"][0]["pictures"] == 3
    assert report.comparisons[0].adapted.value == made["comparisons"][0]["adapted"]["value"]
    assert [choice.value for choice in report.choices if choice.what == "test pictures left out"] == ["15 pictures"]
    assert UNKNOWN not in report.notes
    learned = set((adapted / LEARNED).read_text().split())
    for file in photos.rglob("*.webp"):
        if blake2b(file.read_bytes(), digest_size=16).hexdigest() not in learned:
            file.unlink()
    (photos / "twemoji").rmdir()
    with pytest.raises(UserError, match=r"has learned from every picture of .* \(15\): give others to judge it"):
        evaluate(EvaluateConfig(str(adapted), str(photos)))


def test_a_run_that_does_not_say_what_it_learned_from(adapted: Path, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(adapted, old := tmp_path / "old")
    (old / LEARNED).unlink()
    assert UNKNOWN in evaluate(EvaluateConfig(str(old), str(photos))).notes


def test_only_the_test_level_is_scored_where_there_is_one(
    adapted: Path, tmp_path: Path, drawings: dict[str, list[bytes]], write_classes: Callable[..., Path]
) -> None:
    for level, (start, stop) in {"train": (6, 9), "val": (9, 11), "test": (11, 15)}.items():
        write_classes(tmp_path / "data" / level, {s: drawings[s][start:stop] for s in ("noto", "fluent")})
    config = EvaluateConfig(str(adapted), str(tmp_path / "data"), out=str(tmp_path / "new" / "out"))
    report = evaluate(config)
    assert report.comparisons[0].pictures == 8
    assert ("test pictures", "the test level, 8 pictures", "the data has one") in [
        (choice.what, choice.value, choice.how) for choice in report.choices
    ]
    assert report.notes == []
    assert sorted(path.name for path in Path(config.out).iterdir()) == ["classes.csv", "metrics.json", "report.html"]
    evaluate(config)  # again into the same folder


def test_copies_of_training_pictures_are_not_tested_on(
    adapted: Path, tmp_path: Path, drawings: dict[str, list[bytes]], write_classes: Callable[..., Path]
) -> None:
    """As when a run divides the same data."""
    for level, (start, stop) in {"train": (6, 9), "test": (8, 12)}.items():
        write_classes(tmp_path / "data" / level, {s: drawings[s][start:stop] for s in ("noto", "fluent")})
    assert groups(EvaluateConfig(str(adapted), str(tmp_path / "data"))) == {"seen classes": 6}


def test_a_table_of_one_class_is_scored_among_all_of_the_adapters(
    adapted: Path, tmp_path: Path, drawings: dict[str, list[bytes]], write_classes: Callable[..., Path]
) -> None:
    photos = write_classes(tmp_path / "new", {"noto": drawings["noto"][10:13]})
    table = photos / "rows.jsonl"
    rows = [{"image": f"noto/{n}.webp", "label": "noto"} for n in range(3)] + [{"image": "none.png", "label": "noto"}]
    table.write_text("\n".join(map(json.dumps, rows)))
    report = evaluate(EvaluateConfig(str(adapted), str(table)))
    assert (report.comparisons[0].pictures, len(report.skipped)) == (3, 1)
    assert report.confusion is not None
    assert report.confusion.sum(axis=1).tolist() == [0, 3, 0]


def test_emoji(adapted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from overtone.data import emoji_part

    def thinned(part: str, styles: list[str] | None = None) -> ot.data.ImageSet:
        images = emoji_part(part, styles)
        return images.of_classes(images.classes[::40])

    monkeypatch.setattr("overtone.data.loading.emoji_part", thinned)
    pictures = 2 * len(thinned("base").classes) + 4 * len(thinned("new").classes)
    assert groups(EvaluateConfig(str(adapted), "emoji")) == {"unseen classes": pictures}
