"""`adapt` as a function: from pictures as users have them to a run folder and a report that says what happened."""

import csv
import importlib
import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import overtone as ot
from overtone.data import emoji_part
from overtone.errors import UserError
from overtone.tasks import AdaptConfig, AdaptResult, adapt

MODULE = importlib.import_module("overtone.tasks.adapt")  # the package's own `adapt` is the function
FAST: dict[str, Any] = {"epochs": 1, "batch_size": 8}


@pytest.fixture
def run(tmp_path: Path, tiny_model: Path) -> Callable[..., AdaptResult]:
    """Return what adapts the tiny model to data, in one epoch unless told."""

    def run(data: object, **settings: Any) -> AdaptResult:
        defaults = {"model": str(tiny_model), "out": str(tmp_path / "run"), **FAST}
        return adapt(AdaptConfig(str(data), **(defaults | settings)))

    return run


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def giant() -> bytes:
    """A valid start of a PNG of 30,000 x 30,000 pixels."""
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(99))))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def test_pictures_and_names_of_every_kind(
    run: Callable[..., AdaptResult], photos: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What can be read is used, what cannot is skipped by name, and names are whatever people call things."""
    (photos / "noto").rename(photos / "日本 の\nclass")
    (photos / "fluent").rename(photos / "with  <b>_spaces")
    picture = Image.open(photos / "openmoji/0.webp").convert("RGB")
    exif = Image.Exif()
    exif[274] = 6
    good = {
        "16.png": saved(Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64) * 16), "PNG"),
        "palette.png": saved(picture.convert("P"), "PNG"),
        "cmyk.jpg": saved(picture.convert("CMYK"), "JPEG"),
        "moving.gif": saved(picture, "GIF", save_all=True, append_images=[picture.rotate(90)]),
        "turned.jpg": saved(picture, "JPEG", exif=exif),
    }
    bad = {"cut.png": saved(picture, "PNG")[:200], "empty.jpg": b"", "giant.png": giant()}
    for name, file in (good | bad).items():
        (photos / "openmoji" / name).write_bytes(file)

    report = run(photos).report

    assert capfd.readouterr() == ("", "")
    reasons = {Path(item.source).name: item.reason for item in report.skipped}
    assert set(reasons) == set(bad)
    assert reasons["giant.png"].startswith("too large: ")
    assert reasons["empty.jpg"] == "the file is empty (0 bytes)"
    assert {row.name for row in report.classes} == {"日本 の class", "with <b> spaces", "openmoji", "twemoji"}
    page = (photos.parent / "run/report.html").read_text(encoding="utf-8")
    assert "giant.png" in page
    assert "<b>" not in page


def test_the_run_folder_says_how_it_was_made(run: Callable[..., AdaptResult], photos: Path, tiny_model: Path) -> None:
    folder = run(photos, shots=3, seed=5, classes="noto, fluent, openmoji").folder
    config = json.loads((folder / "config.json").read_text())
    adapter = json.loads((folder / "adapter.json").read_text())
    metrics = json.loads((folder / "metrics.json").read_text())
    assert config["data"] == str(photos)
    assert config["classes"] == ["noto", "fluent", "openmoji"] == adapter["classes"]
    assert (config["shots"], config["seed"], config["device"], config["epochs"]) == (3, 5, "cpu", 1)
    assert (adapter["backbone"], adapter["pictures"]) == (str(tiny_model), 9)
    assert {row["group"]: row["pictures"] for row in metrics["comparisons"]} == {"seen classes": 3}
    assert not (folder / "checkpoints").exists()
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: overtone\n")
    assert "9 of 3 classes, 3 each, drawn under the seed" in card
    assert "The one unseen class, 'twemoji', is left out: alone it would always be right." in card


def stop(*args: object) -> None:
    raise KeyboardInterrupt


def test_levels_give_a_validation_curve_and_domains_their_own_rows(
    run: Callable[..., AdaptResult], photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = ["file;kind;style;split"]
    for level, numbers in {"train": (0, 1, 2), "valid": (3,), "test": (4, 5)}.items():
        for style in ("noto", "fluent", "twemoji"):
            rows += [f"{style}/{n}.webp;{style};{'odd' if n % 2 else 'even'};{level}" for n in numbers]
    table = photos / "list.csv"
    table.write_text("\n".join([*rows, "gone.png;noto;odd;train"]))
    settings = {"label_column": "kind", "epochs": 3}
    with monkeypatch.context() as patch:
        patch.setattr(MODULE, "judge", stop)
        with pytest.raises(KeyboardInterrupt, match=r"Go on with .* --resume --out"):
            run(table, **settings)
    report = run(table, resume=True, **settings).report  # the curves are those from before the interruption
    assert [epoch for epoch, _ in report.curves["validation accuracy"]] == [1, 2, 3]
    assert all(share * 3 == pytest.approx(round(share * 3)) for _, share in report.curves["validation accuracy"])
    assert len(report.curves["loss"]) >= 3
    assert [(row.group, row.pictures) for row in report.domains] == [
        ("seen classes · even", 3),
        ("seen classes · odd", 3),
    ]
    assert [item.source for item in report.skipped] == [f"{table} line 20"]


def test_what_is_learned_from_is_no_test_and_what_is_broken_is_not_counted(
    run: Callable[..., AdaptResult], photos: Path
) -> None:
    for style in ("noto", "fluent"):
        (photos / style / "again.webp").write_bytes((photos / style / "0.webp").read_bytes())
        (photos / style / "1.webp").write_bytes(b"broken")
    report = run(photos, classes="noto, fluent, twemoji, openmoji").report
    choices = {choice.what: choice.value for choice in report.choices}
    tested = report.comparisons[0].pictures
    assert choices["copies"] == "2 pictures"
    assert choices["test split"] == f"20 % of each class, {tested} pictures"
    assert choices["pictures learned from"].startswith(f"{4 * 6 - tested} of ")  # with both copies, less the broken
    assert len(report.skipped) == 2
    with (photos.parent / "run/skipped.csv").open(newline="") as file:
        assert [(row["source"], row["reason"]) for row in csv.DictReader(file)] == [
            (item.source, item.reason) for item in report.skipped
        ]


def test_emoji_with_a_few_classes(run: Callable[..., AdaptResult], monkeypatch: pytest.MonkeyPatch) -> None:
    """The set as it is, thinned: every twentieth of its pictures keeps the test short."""

    def thinned(part: str, styles: Any = None) -> Any:
        images = emoji_part(part, styles)
        return images.of_classes(images.classes[::20])

    monkeypatch.setattr("overtone.data.loading.emoji_part", thinned)
    names = thinned("base").classes
    report = run(
        "emoji", classes=", ".join(names[:5]), injection="by_depth", amplitude_mix=True, precision="bf16"
    ).report
    assert [row.group for row in report.comparisons] == ["seen classes", "unseen classes", "harmonic mean"]
    assert report.comparisons[0].pictures == 10
    assert report.comparisons[1].pictures == 2 * (len(names) - 5) + 4 * len(thinned("new").classes)
    assert {row.group.split(" · ")[1] for row in report.domains} == {"noto", "twemoji", "openmoji", "fluent"}
    assert len(report.streams) == 6
    view = report.streams[0]
    assert (view.picture.shape, view.structure_attention.shape) == ((48, 48, 3), (6, 6))
    assert view.style_attention.max() == 1
    hows = {choice.what: choice.how for choice in report.choices}
    assert (hows["injection"], hows["amplitude mix"], hows["seed"]) == ("set by you", "set by you", "default")


@pytest.mark.parametrize("injection", ["by_modality", "plain"])
def test_adapting_helps_where_it_can(
    injection: str, run: Callable[..., AdaptResult], tmp_path: Path, write_classes: Callable[..., Path]
) -> None:
    """Four plain colours, which the random backbone has no words for."""
    draw = np.random.default_rng(0)
    colours = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200), "grey": (120, 120, 120)}
    classes = {}
    for name, colour in colours.items():
        noisy = (np.array(colour) + draw.normal(0, 20, (20, 64, 64, 3))).clip(0, 255).astype(np.uint8)
        classes[name] = [saved(Image.fromarray(pixels), "PNG") for pixels in noisy]
    report = run(write_classes(tmp_path / "colours", classes), epochs=10, injection=injection).report
    assert report.comparisons[0].adapted.value == 1
    assert report.comparisons[0].verdict == "helped"
    assert report.summary.startswith("Adapting helped")
    assert bool(report.streams) == (injection != "plain")


def test_the_adapter_from_python(adapted: Path) -> None:
    adapter = ot.farl.Adapter.load(adapted)
    files = sorted((adapted.parent / "photos/noto").iterdir())
    probabilities = adapter.predict([files[0], Image.open(files[1])])
    assert probabilities.shape == (2, 3)
    assert probabilities.sum(dim=1).tolist() == pytest.approx([1, 1])
    assert adapter.predict(files[:1], classes=["kite", "drone"]).shape == (1, 2)


def test_names_that_collide_after_clean_up(run: Callable[..., AdaptResult], photos: Path) -> None:
    (photos / "noto").rename(photos / "big_cat")
    (photos / "fluent").rename(photos / "big cat")
    with pytest.raises(UserError, match="both 'big cat'"):
        run(photos)
    assert not (photos.parent / "run").exists()


def test_a_class_that_only_bad_files_stand_for(run: Callable[..., AdaptResult], photos: Path) -> None:
    for file in (photos / "noto").iterdir():
        file.write_bytes(b"")
    (photos.parent / "run").mkdir()
    with pytest.raises(UserError, match="No good picture to learn the class 'noto' from"):
        run(photos)
    assert list((photos.parent / "run").iterdir()) == []
    for file in photos.rglob("*.webp"):
        file.write_bytes(b"")
    with pytest.raises(UserError, match=r"None of the .* pictures can be used"):
        run(photos)


def test_data_that_changed_cannot_be_gone_on_with(
    run: Callable[..., AdaptResult], photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(MODULE, "judge", stop)
        with pytest.raises(KeyboardInterrupt):
            run(photos)
    (photos / "noto" / "more.webp").write_bytes((photos / "noto" / "0.webp").read_bytes())
    (photos / "noto" / "again.webp").write_bytes((photos / "noto" / "0.webp").read_bytes())
    with pytest.raises(UserError, match=r"has train_pictures 20, not 2[12]\. Give the same settings"):
        run(photos, resume=True)


def test_runs_are_numbered(run: Callable[..., AdaptResult], photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos.parent)
    for number in (1, 2):
        assert run("photos", out="").folder == Path("runs") / f"photos-{number}"
