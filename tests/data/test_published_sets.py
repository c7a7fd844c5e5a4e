"""The published data sets in their usual layouts, and what can be wrong with them."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from overtone.data.published import KNOWN, PUBLISHED, few_shot_as_published, find_published, load_data_set, part_of
from overtone.errors import UserError
from published_trees import CLASSES, SIZES, SYNSETS, of, write_set

VARIANTS = ("ImageNet-V2", "ImageNet-Sketch", "ImageNet-A", "ImageNet-R")


@pytest.mark.parametrize("name", [one.name for one in PUBLISHED])
def test_every_layout_is_read(name: str, tmp_path: Path) -> None:
    folder = write_set(tmp_path, name)
    data = load_data_set(name, str(tmp_path))
    there = {"train": data.train, "val": data.val or data.train.select([]), "test": data.test}
    assert {part: len(images) for part, images in there.items()} == {
        part: 4 * SIZES[part] if part in of(name).counts else 0 for part in SIZES
    }
    for images in there.values():
        assert len(images.classes) == 4
        assert all(Path(record.source).is_relative_to(folder) for record in images.records)
        assert [record.open().size for record in images.records[:1]] in ([(8, 8)], [])
    assert data.templates == (of(name).template,)
    assert data.base == 2


def test_the_table_adds_up() -> None:
    """Splits of sets of known size: every picture is in one of them."""
    totals = {"Caltech101": 8242, "Flowers102": 8189, "Food101": 101_000, "FGVCAircraft": 10_000, "SUN397": 39_700}
    totals |= {"DTD": 5640, "EuroSAT": 27_000, "StanfordCars": 16_185, "OxfordPets": 7349, "UCF101": 13_320}
    assert {name: sum(of(name).counts.values()) for name in totals} == totals
    assert len({one.folder for one in PUBLISHED}) == len(PUBLISHED) == 15


def test_classes_are_put_into_words(tmp_path: Path) -> None:
    for name in ("EuroSAT", "UCF101", "DTD", "FGVCAircraft", "ImageNet", "ImageNet-A"):
        write_set(tmp_path, name)
    classes = {name: load_data_set(name, str(tmp_path)).test.classes for name in ("EuroSAT", "UCF101", "DTD")}
    assert classes["EuroSAT"] == ("Annual Crop Land", "Forest", "Sea or Lake", "River")
    assert classes["UCF101"] == ("Apply Eye Makeup", "Archery", "Baby Crawling", "Biking")
    assert classes["DTD"] == CLASSES["DTD"]  # a hyphen stays: only _ becomes a space
    assert load_data_set("FGVCAircraft", str(tmp_path)).test.classes == ("707-320", "727-200", "A300B4", "Boeing 717")
    for name in ("ImageNet", "ImageNet-A"):
        assert load_data_set(name, str(tmp_path)).test.classes == tuple(SYNSETS.values())


def test_caltech_drops_two_folders(tmp_path: Path) -> None:
    folder = write_set(tmp_path, "Caltech101")
    file = folder / of("Caltech101").split
    split = json.loads(file.read_text().replace("leopard", "Faces_easy"))
    (folder / "101_ObjectCategories" / "leopard").rename(folder / "101_ObjectCategories" / "Faces_easy")
    file.write_text(json.dumps(split))
    data = load_data_set("caltech101", str(tmp_path))
    assert data.test.classes == ("face", "sea horse", "yin yang")
    assert set(data.test.labels) == {0, 1, 2}


def test_labels_of_imagenet_v2_are_numbers_and_not_the_order_of_names(tmp_path: Path) -> None:
    folder = write_set(tmp_path, "ImageNet-V2")
    lines = "".join(f"n{number:08} class {number}\n" for number in range(11))
    (folder / "classnames.txt").write_text(lines)
    pictures = folder / of("ImageNet-V2").pictures
    for number in range(4, 11):
        (pictures / str(number)).mkdir()
        shutil.copy(pictures / "3" / "0001.jpg", pictures / str(number))
    data = load_data_set("ImageNet-V2", str(tmp_path))
    ten = next(record for record in data.test.records if Path(record.source).parent.name == "10")
    assert data.test.classes[ten.label] == "class 10"


def test_variants_take_imagenets_names(tmp_path: Path) -> None:
    write_set(tmp_path, "ImageNet")
    for name in VARIANTS:
        (write_set(tmp_path, name) / "classnames.txt").unlink()
        assert load_data_set(name, str(tmp_path)).test.classes == tuple(SYNSETS.values())


def test_two_classes_may_have_one_name(tmp_path: Path) -> None:
    folder = write_set(tmp_path, "ImageNet")
    (folder / "classnames.txt").write_text("".join(f"{synset} sunglasses\n" for synset in SYNSETS))
    data = load_data_set("ImageNet", str(tmp_path))
    new = part_of(few_shot_as_published(data, 1, 1), "new")
    assert data.test.classes == ("sunglasses",) * 4
    assert (new.train.labels, len(new.test), set(new.test.labels)) == ([0, 1], 6, {0, 1})


def test_names_in_any_case() -> None:
    assert find_published("imagenet_v2") is find_published("ImageNet-V2") is not None
    assert find_published("fgvcaircraft") is not None
    assert find_published("./dtd") is None


# Bad input: the message names what is wrong, and `overtone doctor` for more.


def faulty(root: Path, change: str, with_what: str, name: str = "Caltech101") -> str:
    folder = write_set(root, name)
    file = folder / of(name).split
    assert change in file.read_text()
    file.write_text(file.read_text().replace(change, with_what))
    with pytest.raises(UserError) as error:
        load_data_set(name, str(root))
    return str(error.value)


def test_a_split_that_names_missing_pictures(tmp_path: Path) -> None:
    said = faulty(tmp_path, "face/image_0001.jpg", "face/image_9999.jpg")
    assert "1 of 44 pictures are missing" in said
    assert "image_9999.jpg" in said
    assert "overtone doctor" in said


def test_labels_with_a_gap(tmp_path: Path) -> None:
    assert "labels are not 0 to 7 without a gap: 3, 4, 5, 6 are odd" in faulty(tmp_path, '3, "yin', '7, "yin')


def test_a_label_with_two_names(tmp_path: Path) -> None:
    said = faulty(tmp_path, '["face/image_0001.jpg", 0, "face"]', '["face/image_0001.jpg", 0, "faces"]')
    assert "label 0 has two names, 'faces' and 'face'" in said


def test_a_class_in_test_that_is_not_in_train(tmp_path: Path) -> None:
    folder = write_set(tmp_path, "Caltech101")
    file = folder / of("Caltech101").split
    split = json.loads(file.read_text())
    split["train"] = [row for row in split["train"] if row[1] != 2]
    file.write_text(json.dumps(split))
    with pytest.raises(UserError, match="1 class to test has no picture to learn from: 'sea horse' \\(5 pictures\\)"):
        load_data_set("Caltech101", str(tmp_path))


def test_no_validation_pictures(tmp_path: Path) -> None:
    write_set(tmp_path, "Caltech101", {"val": 0})
    data = few_shot_as_published(load_data_set("Caltech101", str(tmp_path)), 2, 1)
    assert data.val is None
    assert data.notes == ("Caltech101 has no validation pictures: no setting is chosen on it.",)


def test_no_test_pictures(tmp_path: Path) -> None:
    write_set(tmp_path, "Caltech101", {"test": 0})
    with pytest.raises(UserError, match="there is no picture to test"):
        load_data_set("Caltech101", str(tmp_path))


@pytest.mark.parametrize("text", ["{", "[]", '{"train": []}', '{"train": [["a", 0]], "val": [], "test": []}'])
def test_a_file_that_is_no_split(text: str, tmp_path: Path) -> None:
    (write_set(tmp_path, "DTD") / of("DTD").split).write_text(text)
    with pytest.raises(UserError, match="is no split as CoOp publishes them"):
        load_data_set("DTD", str(tmp_path))


def test_other_files_that_are_wrong(tmp_path: Path) -> None:
    aircraft, imagenet = write_set(tmp_path, "FGVCAircraft"), write_set(tmp_path, "ImageNet")
    (aircraft / "images_variant_val.txt").write_text("0001 Zeppelin\n")
    with pytest.raises(UserError, match=r"'Zeppelin' is no line of variants\.txt"):
        load_data_set("FGVCAircraft", str(tmp_path))
    (imagenet / "images" / "val" / "n00000001").mkdir()
    with pytest.raises(UserError, match=r"n00000001 is no line of classnames\.txt"):
        load_data_set("ImageNet", str(tmp_path))
    (imagenet / "images" / "val" / "n01440764" / "ILSVRC2012_val_0001.jpg").rename(
        imagenet / "images" / "val" / "1.jpg"
    )
    with pytest.raises(UserError, match="1 picture outside of any class's folder"):
        load_data_set("ImageNet", str(tmp_path))


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"DTD is a published data set: say with --root"):
        load_data_set("dtd")
    with pytest.raises(UserError, match=r"there is no 'dtd'\. `overtone doctor"):
        load_data_set("DTD", str(tmp_path))
    (write_set(tmp_path, "DTD") / of("DTD").split).unlink()
    with pytest.raises(UserError, match=r"there is no 'dtd/split_zhou_DescribableTextures\.json'"):
        load_data_set("DTD", str(tmp_path))


@pytest.mark.parametrize(
    ("name", "near"), [("Caltech102", "Caltech101"), ("emoji:foood", "food"), ("emoji@notto", "noto")]
)
def test_did_you_mean(name: str, near: str) -> None:
    with pytest.raises(UserError, match=f"Did you mean '{near}'"):
        load_data_set(name)


# The embedded pictures as data sets.


@pytest.mark.parametrize("name", [name for name in KNOWN if name.startswith("emoji:")])
def test_groups_of_emoji(name: str) -> None:
    data = load_data_set(name)
    classes = data.test.classes
    assert 0 < data.base < len(classes)
    assert data.train.classes == classes
    assert (len(data.train), len(data.test), data.val) == (2 * len(classes), 2 * len(classes), None)
    assert (data.train.domains, data.test.domains) == (("noto", "twemoji"), ("fluent", "openmoji"))


def test_a_style_to_learn_from() -> None:
    data = load_data_set("emoji:food@fluent")
    assert (data.train.domains, data.test.domains) == (("fluent",), ("noto", "openmoji", "twemoji"))
    with pytest.raises(UserError, match="leaves no style to test in"):
        load_data_set("emoji@noto+twemoji+openmoji+fluent")


def test_own_data(photos: Path) -> None:
    (photos / "noto" / "broken.png").write_bytes(b"no picture")
    data = load_data_set(str(photos))
    assert data.test.classes == ("fluent", "noto", "openmoji", "twemoji")
    assert data.templates == ()
    assert any("broken.png" in note for note in data.notes)


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes")
def test_own_data_with_names_that_are_no_text(photos: Path) -> None:
    first = next((photos / "noto").iterdir())
    first.rename(first.with_name(os.fsdecode(b"caf\xe9") + first.suffix))
    assert len(load_data_set(str(photos)).digest) == 16


def test_a_digest_does_not_depend_on_the_place(tmp_path: Path) -> None:
    digests = []
    for place in ("here", "there"):
        write_set(tmp_path / place, "DTD")
        digests.append(load_data_set("DTD", str(tmp_path / place)).digest)
    write_set(tmp_path / "else", "DTD", {"test": 4})
    assert digests[0] == digests[1] != load_data_set("DTD", str(tmp_path / "else")).digest
