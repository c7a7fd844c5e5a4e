"""ImageNet's layout: synsets, their names, and pictures that are not sorted."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from overtone.data import load
from overtone.data.imagenet import synset_names
from overtone.data.loading import load_tests
from overtone.errors import UserError

SYNSETS = {"n01440764": "tench, Tinca tinca", "n02012849": "crane", "n03126707": "crane, hoist"}


def write(level: Path, count: int) -> None:
    for synset in SYNSETS:
        (level / synset).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (5, 4)).save(level / synset / f"{synset}_{number}.JPEG", "JPEG")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "imagenet"
    write(root / "train", 3)
    write(root / "val", 2)
    return root


def test_the_validation_pictures_are_the_tests(root: Path) -> None:
    splits = load(str(root))
    assert splits.train.classes == tuple(SYNSETS)
    assert (len(splits.train), splits.val, len(splits.test)) == (9, None, 6)  # as published, copies and all
    assert ("class names", "synsets", "there is no LOC_synset_mapping.txt or synset_words.txt with their names") in (
        splits.choices
    )


def test_an_adapter_is_judged_on_the_same_pictures(root: Path) -> None:
    tests = load_tests(str(root))
    assert tests.published
    assert [record.source for record in tests.images.records] == [r.source for r in load(str(root)).test.records]
    shutil.rmtree(root / "val")  # what there is to learn from is nothing published to be tested on
    assert not load_tests(str(root)).published


@pytest.mark.parametrize("name", ["LOC_synset_mapping.txt", "synset_words.txt"])
def test_synsets_get_their_names(name: str, root: Path) -> None:
    lines = "\n".join(f"{synset} {words}" for synset, words in SYNSETS.items())
    (root / name).write_text(lines)
    classes = ("crane (n02012849)", "crane (n03126707)", "tench")
    assert load(str(root)).train.classes == load(str(root)).test.classes == classes


def test_as_kaggles_archive_lays_it_out(root: Path, tmp_path: Path) -> None:
    levels = tmp_path / "kaggle" / "ILSVRC" / "Data" / "CLS-LOC"
    levels.parent.mkdir(parents=True)
    root.rename(levels)
    (tmp_path / "kaggle" / "LOC_synset_mapping.txt").write_text("n01440764 tench, Tinca tinca\n")
    for place in (tmp_path / "kaggle", levels.parent.parent.parent, levels):
        assert "tench" in load(str(place)).train.classes


def test_kaggles_unsorted_validation_pictures(root: Path, tmp_path: Path) -> None:
    levels = tmp_path / "kaggle" / "ILSVRC" / "Data" / "CLS-LOC"
    levels.parent.mkdir(parents=True)
    root.rename(levels)
    shutil.rmtree(levels / "val")
    (levels / "val").mkdir()
    (levels / "test").mkdir()
    labels = dict.fromkeys(("ILSVRC2012_val_00000001", "ILSVRC2012_val_00000002", "stray"), "n01440764")
    for name in labels:
        Image.new("RGB", (5, 4)).save(levels / "val" / f"{name}.JPEG", "JPEG")
    del labels["stray"]
    lines = "".join(f"{name},{synset} 1 2 3 4 {synset} 5 6 7 8 \n" for name, synset in labels.items())
    (tmp_path / "kaggle" / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + lines)
    splits = load(str(tmp_path / "kaggle"))
    assert [Path(record.source).stem for record in splits.test.records] == list(labels)
    assert {splits.test.classes[record.label] for record in splits.test.records} == {"n01440764"}
    assert [(Path(bad.source).stem, bad.reason) for bad in splits.skipped] == [("stray", "not in LOC_val_solution.csv")]
    assert ("folders left out", "'test'", "its pictures have no labels") in splits.choices


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "ImageId,PredictionString\nx,\n", "ImageId,PredictionString\nx\n"])
def test_a_list_of_validation_pictures_that_is_none(root: Path, text: str) -> None:
    Image.new("RGB", (5, 4)).save(root / "val" / "x.JPEG", "JPEG")
    (root / "LOC_val_solution.csv").write_text(text)
    with pytest.raises(UserError, match="Kaggle's has the columns ImageId and PredictionString"):
        load(str(root))


def test_pictures_that_are_not_sorted(root: Path) -> None:
    Image.new("RGB", (5, 4)).save(root / "val" / "ILSVRC2012_val_00000001.JPEG", "JPEG")
    with pytest.raises(UserError, match=r"val' has 1 picture outside of any synset's folder: sort them into folders"):
        load(str(root))


def test_other_folders_are_read_as_ever(root: Path) -> None:
    (root / "train" / "dog").mkdir()
    for height, file in enumerate(sorted(root.glob("val/*/*")), 5):  # no copies of those to learn from
        Image.new("RGB", (5, height)).save(file)
    splits = load(str(root))
    assert splits.train.classes == tuple(SYNSETS)
    assert "class names" not in {what for what, _, _ in splits.choices}


def test_names_that_case_alone_tells_apart() -> None:
    words = "n02113186 Cardigan, Cardigan Welsh corgi\nn02963159 cardigan\nn01440764 tench\n"
    assert list(synset_names(words).values()) == ["Cardigan (n02113186)", "cardigan (n02963159)", "tench"]


def test_names_of_lines_that_say_nothing() -> None:
    assert synset_names("n00000001 a_b, c\n\n# comment\nn00000002\n") == {"n00000001": "a b", "n00000002": "n00000002"}
