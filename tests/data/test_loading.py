"""Folders, tables, the emoji set and shots, on real files made here."""

import csv
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from overtone.data import (
    BadImage,
    ImageSet,
    Record,
    Skipped,
    check,
    check_splits,
    copies,
    emoji,
    emoji_part,
    few_shot,
    find_images,
    load,
)
from overtone.data.imageset import Row
from overtone.data.loading import load_tests
from overtone.data.names import natural_key
from overtone.data.threads import AT_ONCE, on_all_cores
from overtone.errors import UserError

COLOURS = itertools.count()


def picture(path, colour=None):
    """Save a picture of one colour, unlike all others where none is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), f"#{next(COLOURS):06x}" if colour is None else colour).save(path)
    return path


def classes(root, counts):
    for name, count in counts.items():
        for i in range(count):
            picture(root / name / f"{i}.png")
    return str(root)


def table(path, text, **options):
    path.write_text(text, **options)
    return str(path)


def sources(images):
    return [record.source for record in images.records]


def how(splits, what):
    return next((value, reason) for name, value, reason in splits.choices if name == what)


def test_importing_data_imports_no_torch():
    code = "import sys, overtone.data; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": "src"}).returncode == 0


class TestFolders:
    def test_a_split_is_made_and_said(self, tmp_path):
        splits = load(classes(tmp_path, {"cat": 10, "dog": 4, "emu": 1}), seed=3)
        assert splits.train.classes == splits.test.classes == ("cat", "dog", "emu")
        assert Counter(splits.train.labels) == {0: 8, 1: 3, 2: 1}
        assert Counter(splits.test.labels) == {0: 2, 1: 1}
        assert not set(sources(splits.train)) & set(sources(splits.test))
        assert splits.val is splits.unseen is None
        assert how(splits, "test split") == (
            "20 % of each class, 3 pictures; 1 class with a single picture, kept for training",
            "made here with seed 3: the folder has no test level",
        )
        assert load(str(tmp_path), seed=3) == splits
        assert load(str(tmp_path), seed=4) != splits

    def test_a_split_of_a_class_does_not_depend_on_the_others(self, tmp_path):
        before = load(classes(tmp_path, {"cat": 20, "dog": 20}))
        after = load(classes(tmp_path, {"ape": 5, "cat": 20, "dog": 20}))
        assert sources(before.test) == sources(after.test.of_classes(["cat", "dog"]))

    @pytest.mark.parametrize("val", ["val", "VALID", "Validation"])
    def test_levels(self, tmp_path, val):
        for level, counts in {
            "Train": {"a": 3, "b": 2},
            val: {"a": 1, "b": 1, "x": 1},
            "TEST": {"b": 2, "a_": 1},
        }.items():
            classes(tmp_path / level, counts)
        splits = load(str(tmp_path))
        assert [len(part) for part in (splits.train, splits.val, splits.test)] == [5, 2, 3]
        assert splits.test.classes == ("a", "b")
        assert splits.unseen is None
        assert how(splits, "validation pictures left out") == ("1 picture", "their classes have no training pictures")

    def test_classes_with_test_pictures_alone_are_unseen(self, tmp_path):
        classes(tmp_path / "train", {"a": 1, "b": 1})
        classes(tmp_path / "test", {"a": 1, "c": 2})
        splits = load(str(tmp_path))
        assert (splits.unseen.classes, len(splits.unseen), len(splits.test)) == (("c",), 2, 1)
        assert how(splits, "unseen classes")[0] == "1 class, 2 pictures"

    def test_val_stands_in_for_test(self, tmp_path):
        classes(tmp_path / "train", {"a": 2, "b": 2})
        classes(tmp_path / "val", {"a": 1, "b": 1})
        splits = load(str(tmp_path))
        assert splits.val is None
        assert len(splits.test) == 2
        assert how(splits, "test pictures") == ("the validation pictures, 2", "the folder has no test level")

    def test_train_alone_is_split(self, tmp_path):
        classes(tmp_path / "train", {"a": 5, "b": 5})
        splits = load(str(tmp_path))
        assert (len(splits.train), len(splits.test)) == (8, 2)

    def test_test_alone_has_nothing_to_learn_from(self, tmp_path):
        classes(tmp_path / "test", {"a": 5, "b": 5})
        splits = load(str(tmp_path))
        assert (len(splits.train), len(splits.test), splits.test.classes) == (0, 10, ("a", "b"))
        assert how(splits, "training pictures") == ("none", "the folder has no train level")
        with pytest.raises(
            UserError, match=r"2 of 2 classes have fewer to learn from: a \(0\), b \(0\)\. Add pictures"
        ):
            few_shot(splits.train, 1, 0)

    def test_a_class_may_be_called_train(self, tmp_path):
        splits = load(classes(tmp_path, {"car": 2, "train": 2, "plane": 2}))
        assert splits.train.classes == ("car", "plane", "train")

    def test_levels_without_classes(self, tmp_path):
        with pytest.raises(UserError, match="pictures right under 'test', 'train'"):
            load(classes(tmp_path, {"train": 2, "test": 2}))

    def test_two_folders_for_a_level(self, tmp_path):
        for level in ("train", "val", "valid"):
            classes(tmp_path / level, {"a": 1, "b": 1})
        with pytest.raises(UserError, match="Two folders are the val level: 'val' and 'valid'"):
            load(str(tmp_path))

    def test_names_are_cleaned_and_in_natural_order(self, tmp_path):
        splits = load(classes(tmp_path, {"class_10": 2, "class-2": 2, "a  b\nc": 2, "Käse_größe": 2, "猫": 2}))
        assert splits.train.classes == ("a b c", "class 2", "class 10", "Käse größe", "猫")
        good, bad = check(splits.train)
        assert len(good) == 5
        assert not bad

    def test_names_that_collide(self, tmp_path):
        with pytest.raises(UserError, match="'big-cat' and 'big_cat' are both 'big cat'"):
            load(classes(tmp_path, {"big_cat": 1, "big-cat": 1}))

    def test_names_that_case_alone_tells_apart(self, tmp_path):
        with pytest.raises(UserError, match="case alone: 'big-Cat' and 'Big_cat'"):
            load(classes(tmp_path / "one", {"Big_cat": 2, "big-Cat": 2}))
        classes(tmp_path / "two" / "train", {"Cat": 2, "dog": 2})
        classes(tmp_path / "two" / "test", {"cat": 2, "dog": 2})
        with pytest.raises(UserError, match="differ in upper and lower case alone: 'cat' and 'Cat'"):
            load(str(tmp_path / "two"))

    @pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes")
    def test_a_name_that_is_no_text(self, tmp_path):
        for place in (b"caf\xe9", b"tea"):
            picture(tmp_path / os.fsdecode(place) / "0.png")
        with pytest.raises(UserError, match=r"The class 'caf\\udce9' in .* has bytes in its name that are not UTF-8"):
            load(str(tmp_path))

    def test_a_name_of_nothing(self, tmp_path):
        with pytest.raises(UserError, match=r"class '__' in .* has no letter"):
            load(classes(tmp_path, {"__": 1, "cat": 1}))

    def test_what_is_left_out_is_counted(self, tmp_path):
        classes(tmp_path, {"a": 2, "b": 2, ".cache": 2})
        for name in ("a/.hidden.png", "a/._0.png"):
            (tmp_path / name).write_bytes(b"hidden")
        for name in ("a/notes.txt", "b/Thumbs.db", "a/phone.HEIC", "b/drawn.svg"):
            (tmp_path / name).touch()
        picture(tmp_path / "a" / "deeper" / "1.png")
        picture(tmp_path / "loose.png")
        (tmp_path / "empty").mkdir()
        splits = load(str(tmp_path))
        assert splits.train.classes == ("a", "b")
        assert len(splits.train) + len(splits.test) == 4
        assert how(splits, "files left out")[0] == "2 files"
        why = "pictures of this kind are not read: convert it to JPEG or PNG"
        assert splits.skipped == tuple(Skipped(str(tmp_path / name), why) for name in ("a/phone.HEIC", "b/drawn.svg"))
        assert how(splits, "pictures left out")[0] == "2 pictures"
        assert how(splits, "folders left out")[0] == "'empty'"

    def test_folders_beside_the_levels_are_named(self, tmp_path):
        classes(tmp_path / "train", {"a": 2, "b": 2})
        (tmp_path / "annotations").mkdir()
        assert how(load(str(tmp_path)), "folders left out") == ("'annotations'", "they stand beside the levels")

    def test_links_are_followed_and_broken_ones_are_bad(self, tmp_path):
        classes(tmp_path / "real", {"cat": 2})
        classes(tmp_path / "data" / "test", {"dog": 2})
        (tmp_path / "data" / "test" / "cat").symlink_to(tmp_path / "real" / "cat")
        (tmp_path / "data" / "test" / "dog" / "lost.png").symlink_to(tmp_path / "nowhere.png")
        (tmp_path / "data" / "test" / "dog" / "loop").symlink_to(tmp_path / "data")
        (tmp_path / "data" / "test" / "itself").symlink_to("itself")
        splits = check_splits(load(str(tmp_path / "data")))
        assert Counter(splits.test.labels) == {0: 2, 1: 2}
        assert [bad.reason for bad in splits.skipped] == ["there is no such file"]

    def test_missing_data(self, tmp_path):
        (tmp_path / "flowers").mkdir()
        with pytest.raises(UserError, match=r"no such file or folder. Did you mean '.*flowers'"):
            load(str(tmp_path / "flower"))
        with pytest.raises(UserError, match=r"Did you mean 'emoji'"):
            load("emojis")
        with pytest.raises(UserError, match="no such file"):
            load("x" * 300)
        with pytest.raises(UserError, match=r"No data is named\. Give 'emoji'"):
            load("")

    def test_folders_laid_out_otherwise(self, tmp_path):
        with pytest.raises(UserError, match=r"holds no pictures .* Expected one folder a class"):
            load(str(tmp_path))
        (tmp_path / "cat").mkdir()
        (tmp_path / "cat" / "0.heic").touch()
        with pytest.raises(UserError, match=r"holds no pictures .* The first of 1 other .*0.heic': .* convert it"):
            load(str(tmp_path))
        picture(tmp_path / "1.png")
        with pytest.raises(UserError, match=r"1 picture and no class folders.* overtone predict ADAPTER"):
            load(str(tmp_path))
        picture(tmp_path / "pacs" / "sketch" / "dog" / "1.png")
        with pytest.raises(
            UserError, match=r"first picture found is 'sketch/dog/1.png'.* columns image, label and domain"
        ):
            load(str(tmp_path / "pacs"))

    def test_one_class(self, tmp_path):
        with pytest.raises(UserError, match=r"'cat'.*takes at least two"):
            load(classes(tmp_path, {"cat": 3}))

    def test_no_class_has_a_test_picture(self, tmp_path):
        with pytest.raises(UserError, match="No test picture"):
            load(classes(tmp_path, {"cat": 1, "dog": 1}))

    def test_columns_are_for_tables(self, tmp_path):
        with pytest.raises(UserError, match="is a folder"):
            load(classes(tmp_path, {"cat": 2, "dog": 2}), label_column="label")


class TestClasses:
    def test_the_others_become_unseen(self, tmp_path):
        splits = load(classes(tmp_path, {"a_1": 5, "b": 5, "c": 5, "d": 5}), classes=["c", "a_1"])
        assert splits.train.classes == splits.test.classes == ("c", "a 1")
        assert splits.unseen.classes == ("b", "d")
        assert (len(splits.train), len(splits.test), len(splits.unseen)) == (8, 2, 2)
        assert all(f"/{('c', 'a_1')[r.label]}/" in r.source for r in splits.train.records)
        assert how(splits, "classes")[0] == "2 of 4"

    def test_an_unknown_name(self, tmp_path):
        with pytest.raises(UserError, match=r"No class 'dgo' among the 2 of the data. Did you mean 'dog'"):
            load(classes(tmp_path, {"cat": 2, "dog": 2}), classes=["dgo", "cat"])


class TestTables:
    @pytest.fixture
    def root(self, tmp_path):
        classes(tmp_path / "pictures", {"cat": 3, "dog": 3})
        return tmp_path

    ROWS = tuple((f"pictures/{name}/{i}.png", name) for name in ("cat", "dog") for i in range(3))

    @pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
    @pytest.mark.parametrize("header", [("image", "label"), ("File Name", "Category"), ("filepath", "class")])
    def test_separator_and_columns_are_recognised(self, root, separator, encoding, header):
        text = "\n".join(separator.join(row) for row in (header, *self.ROWS))
        splits = load(table(root / "t.csv", text, encoding=encoding))
        assert splits.train.classes == ("cat", "dog")
        assert (len(splits.train), len(splits.test)) == (4, 2)
        assert how(splits, "columns") == (
            f"pictures from {header[0]!r}, classes from {header[1]!r}",
            "recognised by their names",
        )
        assert how(splits, "test split")[1] == "made here with seed 0: the table has no test rows"
        assert not check_splits(splits).skipped

    def test_quoted_cells(self, root):
        picture(root / 'a, "b"\n猫.png')
        with (root / "t.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerows([("path", "label"), *self.ROWS, ('a, "b"\n猫.png', "big, cat")])
        splits = check_splits(load(str(root / "t.csv")))
        assert splits.train.classes == ("big, cat", "cat", "dog")
        assert not splits.skipped

    def test_split_and_domain_columns(self, root):
        lines = [
            "path\tlabel\tsplit\tstyle",
            *(f"{p}\t{n}\t{s}\tphoto" for (p, n), s in zip(self.ROWS, ["train", "Valid", "test"] * 2, strict=True)),
        ]
        splits = load(table(root / "t.tsv", "\n".join(lines)))
        assert [len(part) for part in (splits.train, splits.val, splits.test)] == [2, 2, 2]
        assert splits.test.domains == ("photo",)

    def test_json_lines(self, root):
        rows = [{"image": p, "label": i % 2, "domain": "d"} for i, (p, _) in enumerate(self.ROWS)]
        splits = load(table(root / "t.jsonl", "\n".join(map(json.dumps, rows)) + "\n\n"))
        assert splits.train.classes == ("0", "1")
        assert splits.train.domains == ("d",)

    @pytest.mark.parametrize("indent", [None, 2])
    def test_a_json_array(self, root, indent):
        rows = [{"image": path, "label": name} for path, name in self.ROWS]
        bad = [7, {"image": "none.png", "label": "cat"}]
        text = json.dumps(rows + bad, indent=indent)
        path = table(root / "t.json", "\n" + (text if indent else text.replace("{", "\n{")))
        splits = load(path)
        assert splits.train.classes == ("cat", "dog")
        assert len(splits.train) + len(splits.test) == 6
        assert splits.skipped == (
            Skipped(f"{path} element 7", "not a JSON object"),
            Skipped(f"{path} element 8", f"there is no file '{root}/none.png'"),
        )

    @pytest.mark.parametrize("indent", [None, 1])
    def test_half_a_json_array(self, root, indent):
        text = json.dumps([{"image": path, "label": name} for path, name in self.ROWS], indent=indent)
        with pytest.raises(UserError, match="begins as a JSON array and is none: Expecting"):
            load(table(root / "t.json", text[: -2 if indent else -1]))

    def test_lines_of_which_the_first_is_an_array(self, root):
        rows = [json.dumps({"image": path, "label": name}) for path, name in self.ROWS]
        path = table(root / "t.json", "\n".join(["[1]", *rows]))
        assert load(path).skipped == (Skipped(f"{path} line 1", "not a JSON object"),)

    def test_bad_rows_are_skipped_with_their_line(self, root):
        good = [",".join(row) for row in self.ROWS]
        lines = ["image,label", *good, "none.png,cat", "", "pictures/cat/0.png,", "a,b,c", "pictures/cat/0.png", ",cat"]
        splits = load(table(root / "t.csv", "\n".join(lines)))
        path = root / "t.csv"
        assert splits.skipped == (
            Skipped(f"{path} line 8", f"there is no file '{root}/none.png'"),
            Skipped(f"{path} line 10", "nothing in the column 'label'"),
            Skipped(f"{path} line 11", "3 cells, where the first line names 2 columns"),
            Skipped(f"{path} line 12", "nothing in the column 'label'"),
            Skipped(f"{path} line 13", "nothing in the column 'image'"),
        )
        assert len(splits.train) + len(splits.test) == 6

    def test_bad_json_lines(self, root):
        good = [json.dumps({"image": p, "label": n, "split": "test" if "0" in p else "train"}) for p, n in self.ROWS]
        bad = ['{"image": 1', "[1]", "[" * 9999, '{"image": "x", "label": null}', '{"image": "x", "label": {}}']
        where = json.dumps({"image": self.ROWS[0][0], "label": "cat", "split": "holdout"})
        splits = load(table(root / "t.jsonl", "\n".join([*good, *bad, where])))
        reasons = [skipped.reason for skipped in splits.skipped]
        assert reasons == [
            "not JSON: each line is one object",
            "not a JSON object",
            "not JSON: each line is one object",
            "nothing in the column 'label'",
            "no text in the column 'label': {}",
            "'holdout' in the column 'split', where train, val or test is expected",
        ]

    def test_a_missing_column_shows_what_was_found(self, root):
        path = table(root / "t.csv", "where,labelle\na,b\n")
        with pytest.raises(
            UserError, match=r"No column of images in .*Columns found: 'where', 'labelle'.* --image-column"
        ):
            load(path)
        with pytest.raises(UserError, match=r"No column 'labell' in .* Did you mean 'labelle'\? Columns found"):
            load(path, image_column="where", label_column="labell")

    def test_columns_can_be_named(self, root):
        lines = ["where,what,label", *(f"{p},{n},1" for p, n in self.ROWS)]
        splits = load(table(root / "t.csv", "\n".join(lines)), image_column="where", label_column="what")
        assert splits.train.classes == ("cat", "dog")
        assert how(splits, "columns")[1] == "named by you"

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            (b"", "is empty"),
            (b"\xff\xfei\x00", "not UTF-8"),
            (b"image,label\n", r"No row .* \(0 bad rows\)"),
            (b"image,label\nx.png,cat\n", r"\(1 bad row\). The first, line 2: there is no file"),
            (b"image,label,label\n", "Two columns of the table are called 'label'"),
            (b"image,label\n" + b"a" * 200_000 + b",b", "field larger"),
            (b"image,label\npictures/cat/0.png,a_b\npictures/cat/1.png,a-b\n", "are both 'a b'"),
            (b"image,label\npictures/cat/0.png,Cat\npictures/cat/1.png,cat\n", "case alone: 'Cat' and 'cat'"),
        ],
    )
    def test_tables_that_cannot_be_used(self, root, text, reason):
        (root / "t.csv").write_bytes(text)
        with pytest.raises(UserError, match=reason):
            load(str(root / "t.csv"))

    def test_other_files_are_no_data(self, root):
        with pytest.raises(UserError, match="neither a folder nor a table"):
            load(str(root / "pictures" / "cat" / "0.png"))


class TestCopies:
    """A picture that is learned from is no test, wherever a copy of it stands."""

    def test_a_table_that_names_each_picture_twice(self, tmp_path):
        classes(tmp_path, {"a": 10, "b": 5})
        rows = [f"{name}/{i}.png,{name}" for name, n in (("a", 10), ("b", 5)) for i in range(n)]
        splits = load(table(tmp_path / "t.csv", "\n".join(["image,label", *rows, *rows])))
        assert not set(sources(splits.train)) & set(sources(splits.test))
        assert (len(splits.train), len(splits.test)) == (24, 3)  # a picture is tested on once
        assert how(splits, "copies")[0] == "15 pictures"

    @pytest.mark.parametrize("copy", [shutil.copy, os.link, os.symlink])
    def test_copies_stay_together(self, tmp_path, copy):
        classes(tmp_path, {"a": 12, "b": 12})
        for i in range(12):
            copy(tmp_path / "a" / f"{i}.png", tmp_path / "a" / f"copy {i}.png")
        for seed in range(5):
            splits = load(str(tmp_path), seed)
            learned, tested = (
                {Image.open(source).getpixel((0, 0)) for source in sources(part)}
                for part in (splits.train, splits.test)
            )
            assert not learned & tested
            assert Counter(splits.test.labels) == {0: 2, 1: 2}

    def test_a_class_of_copies_alone_is_a_single_picture(self, tmp_path):
        classes(tmp_path, {"a": 1, "b": 5})
        for i in range(1, 5):
            shutil.copy(tmp_path / "a" / "0.png", tmp_path / "a" / f"{i}.png")
        splits = load(str(tmp_path))
        assert Counter(splits.test.labels) == {1: 1}
        assert "1 class with a single picture" in how(splits, "test split")[0]

    def test_without_copies_nothing_changes(self, tmp_path):
        """What was drawn before copies were looked for."""
        splits = load(classes(tmp_path, {"cat": 20, "dog": 20}), seed=7)
        held = [os.path.relpath(source, tmp_path) for source in sources(splits.test)]
        assert held == [f"cat/{i}.png" for i in (1, 3, 5, 18)] + [f"dog/{i}.png" for i in (5, 7, 8, 16)]

    def test_levels_that_share_pictures(self, tmp_path):
        classes(tmp_path / "train", {"a": 4, "b": 4})
        classes(tmp_path / "val", {"a": 2, "b": 2})
        classes(tmp_path / "test", {"a": 3, "b": 3, "c": 2})
        shutil.copy(tmp_path / "train/a/0.png", tmp_path / "test/a/again.png")
        (tmp_path / "test/b/again.png").symlink_to(tmp_path / "train/b/1.png")
        shutil.copy(tmp_path / "train/b/2.png", tmp_path / "test/c/again.png")
        shutil.copy(tmp_path / "train/b/3.png", tmp_path / "val/b/again.png")
        shutil.copy(tmp_path / "test/a/0.png", tmp_path / "val/a/tested.png")
        splits = load(str(tmp_path))
        assert [len(part) for part in (splits.train, splits.val, splits.test, splits.unseen)] == [8, 4, 6, 2]
        assert how(splits, "test pictures left out") == ("3 pictures", "identical to training pictures")
        said = how(splits, "validation pictures left out")
        assert said == ("2 pictures", "identical to training or test pictures")
        assert how(splits, "pictures in several classes") == (
            "1 picture",
            f"the first, {str(tmp_path / 'train/b/2.png')!r}, is b, c",
        )

    def test_no_test_picture_is_left(self, tmp_path):
        classes(tmp_path / "train", {"a": 2, "b": 2})
        shutil.copytree(tmp_path / "train", tmp_path / "test")
        with pytest.raises(UserError, match=r"All 4 test pictures of .* are identical to training pictures"):
            load(str(tmp_path))

    @pytest.mark.parametrize("level", ["test", "val"])
    def test_a_test_picture_counts_once(self, tmp_path, level):
        classes(tmp_path / "train", {"a": 2, "b": 2})
        classes(tmp_path / level, {"a": 2, "b": 2})
        for i in range(3):
            shutil.copy(tmp_path / level / "a" / "0.png", tmp_path / level / "a" / f"again {i}.png")
        shutil.copy(tmp_path / "train" / "b" / "0.png", tmp_path / level / "b" / "learned.png")
        splits, tests = load(str(tmp_path)), load_tests(str(tmp_path))
        assert sorted(sources(splits.test)) == sorted(sources(tests.images))
        assert Counter(splits.test.labels) == {0: 2, 1: 2}
        said = (
            "test pictures left out",
            "3 pictures",
            "identical to another test picture of the class, which counts once",
        )
        assert said in splits.choices
        assert said in tests.choices

    def test_one_picture_under_two_classes(self, tmp_path):
        """Held out in one class and learned from in another, it is no test."""
        classes(tmp_path, {"a": 20, "b": 20})
        for i in range(20):
            shutil.copy(tmp_path / "a" / f"{i}.png", tmp_path / "b" / f"as a {i}.png")
        splits = load(str(tmp_path))
        contents = [{Image.open(s).getpixel((0, 0)) for s in sources(part)} for part in (splits.train, splits.test)]
        assert not contents[0] & contents[1]
        assert how(splits, "pictures in several classes")[0] == "20 pictures"
        assert how(splits, "test pictures left out")[1] == "identical to training pictures"

    def test_hardly_a_file_is_read(self, tmp_path, monkeypatch):
        """Only what size and end do not tell apart."""
        root = classes(tmp_path, {"a": 30, "b": 30})
        shutil.copy(tmp_path / "a" / "0.png", tmp_path / "a" / "30.png")
        read = []
        monkeypatch.setattr(copies, "END", 40)  # less than these small files are
        monkeypatch.setattr(Path, "read_bytes", lambda path: bytes(f"{read.append(path.name)}", "ascii"))
        load(root)
        assert sorted(read) == ["0.png", "30.png"]

    def test_pictures_that_stand_in_no_files(self):
        held = [b"one", memoryview(b"one"), b"two", np.zeros((2, 2)), np.zeros((2, 2)).T, np.zeros((2, 1)), b"", b""]
        rows = [Row(str(i), "a", encoded=one) for i, one in enumerate(held)]
        same = copies.copies(rows)
        assert [same[id(row)] for row in rows] == [0, 0, 2, 3, 3, 5, 6, 7]


class TestCheck:
    def test_the_good_ones_are_divided(self, tmp_path):
        """Whichever of a class's two pictures is broken, the other is learned from."""
        for broken in ("0.png", "1.png"):
            root = tmp_path / broken
            classes(root, {"a": 10, "b": 2})
            (root / "b" / broken).write_bytes(b"broken")
            for name in ("4", "5", "6"):
                (root / "a" / f"{name}.png").write_bytes(b"broken")
            splits = check_splits(load(str(root)))
            assert Counter(splits.train.labels) == {0: 6, 1: 1}
            assert len(splits.test) == 1
            assert len(splits.skipped) == 4
            assert how(splits, "test split")[0].startswith("20 % of each class, 1 picture; 1 class")

    def test_what_is_drawn_in_place_of_a_bad_one_is_checked_too(self, tmp_path):
        """Of classes that are not adapted to, only the test pictures are opened."""
        root = classes(tmp_path, {"a": 10, "b": 10, "c": 10})
        for i in range(8):
            (tmp_path / "c" / f"{i}.png").write_bytes(b"broken")
        splits = check_splits(load(root, classes=["a", "b"]))
        assert all(record.open() for record in splits.unseen.records)
        assert len(splits.test) == 4

    def test_a_class_without_a_good_picture_stays(self, tmp_path):
        root = classes(tmp_path, {"a": 10, "b": 1, "c": 10})
        (tmp_path / "b" / "0.png").write_bytes(b"broken")
        assert check_splits(load(root)).train.classes == ("a", "b", "c")

    def test_no_good_picture_is_left_to_test_on(self, tmp_path):
        root = classes(tmp_path, {"a": 2, "b": 2})
        for name in ("a", "b"):
            (tmp_path / name / "0.png").write_bytes(b"broken")
        with pytest.raises(UserError, match=r"No test picture .* 2 are bad, the first .*/0\.png': not a picture"):
            check_splits(load(root))

    def test_bad_pictures_are_parted_from_good_ones(self, tmp_path):
        root = classes(tmp_path, {"cat": 6, "dog": 6})
        whole = (tmp_path / "cat" / "0.png").read_bytes()
        (tmp_path / "cat" / "7.png").write_bytes(whole[:50])
        (tmp_path / "dog" / "8.jpg").touch()
        splits = load(root)
        checked = check_splits(splits)
        assert sorted(bad.source for bad in checked.skipped) == [
            str(tmp_path / "cat" / "7.png"),
            str(tmp_path / "dog" / "8.jpg"),
        ]
        assert len(checked.train) + len(checked.test) == 12
        assert checked.train.classes == splits.train.classes

    def test_all_bad(self, tmp_path):
        images = ImageSet((Record("a.png", 0, encoded=b""), Record("b.png", 1, encoded=b"x")), ("a", "b"))
        with pytest.raises(
            UserError, match=r"None of the 2 pictures can be used. The first, 'a.png': the file is empty"
        ):
            check(images)
        with pytest.raises(BadImage):
            images.records[1].open()


class TestShots:
    IMAGES = ImageSet(tuple(Record(str(i), i % 3, "ab"[i % 2]) for i in range(60)), ("x", "y", "z"))

    @settings(max_examples=30, deadline=None)
    @given(st.integers(1, 20), st.integers(0, 2**40))
    def test_as_many_as_asked_of_each_class(self, shots, seed):
        drawn = few_shot(self.IMAGES, shots, seed)
        assert Counter(drawn.labels) == dict.fromkeys(range(3), shots)
        assert len(set(sources(drawn))) == len(drawn)
        assert drawn == few_shot(self.IMAGES, shots, seed)

    def test_per_domain(self):
        drawn = few_shot(self.IMAGES, 2, 0, per_domain=True)
        assert set(Counter((r.label, r.domain) for r in drawn.records).values()) == {2}
        assert len(drawn) == 12

    def test_the_draw_of_a_class_does_not_depend_on_the_others(self):
        names = ["z", "x"]
        assert few_shot(self.IMAGES, 3, 5).of_classes(names) == ImageSet(
            tuple(sorted(few_shot(self.IMAGES.of_classes(names), 3, 5).records, key=lambda r: -r.label)), ("z", "x")
        )

    def test_seeds_differ(self):
        assert len({tuple(sources(few_shot(self.IMAGES, 4, seed))) for seed in range(5)}) == 5

    def test_too_few(self):
        with pytest.raises(
            UserError, match=r"21 pictures a class were asked for, and 3 of 3 .* x \(20\), .* Ask for 20"
        ):
            few_shot(self.IMAGES, 21, 0)
        with pytest.raises(UserError, match=r"6 of 6 .* x in a \(10\)"):
            few_shot(self.IMAGES, 11, 0, per_domain=True)
        with pytest.raises(UserError, match="1 or more"):
            few_shot(self.IMAGES, 0, 0)
        with pytest.raises(UserError, match="seed"):
            few_shot(self.IMAGES, 1, -1)


class TestEmoji:
    @pytest.fixture
    def small(self, tmp_path, monkeypatch):
        png = picture(tmp_path / "p.png").read_bytes()
        rows = [
            {"concept": part + str(i), "name": f"{part} {i}", "part": part, "style": style, "image": png}
            for part, count in (("pretrain", 2), ("base", 3), ("new", 2))
            for i in range(count)
            for style in emoji.STYLES
        ]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "emoji.parquet")
        monkeypatch.setattr(emoji, "PICTURES", tmp_path / "emoji.parquet")

    @pytest.mark.usefixtures("small")
    def test_splits(self):
        splits = load("emoji")
        assert splits.train.classes == splits.test.classes == ("base 0", "base 1", "base 2")
        assert splits.unseen.classes == ("new 0", "new 1")
        assert (splits.train.domains, splits.test.domains) == (("noto", "twemoji"), ("fluent", "openmoji"))
        assert (len(splits.train), splits.val, len(splits.test), len(splits.unseen)) == (6, None, 6, 8)
        assert how(splits, "test pictures")[0] == "the same concepts in openmoji and fluent, 6 pictures"
        assert splits.train.records[0].source == "emoji/noto/base 0"
        assert splits.train.records[0].open().size == (4, 4)

    @pytest.mark.usefixtures("small")
    def test_chosen_classes(self):
        splits = load("emoji", classes=["base 2", "base 0"])
        assert (len(splits.train), len(splits.test)) == (4, 4)
        assert splits.unseen.classes == ("base 1", "new 0", "new 1")

    @pytest.mark.usefixtures("small")
    def test_parts(self):
        assert len(emoji_part("pretrain")) == 8
        assert emoji_part("new", ["fluent"]).domains == ("fluent",)
        with pytest.raises(UserError, match="Did you mean 'new'"):
            emoji_part("news")
        with pytest.raises(UserError, match="Did you mean 'noto'"):
            emoji_part("new", ["not"])
        with pytest.raises(UserError, match="is none"):
            load("emoji", image_column="image")

    def test_a_missing_asset(self, tmp_path, monkeypatch):
        monkeypatch.setattr(emoji, "PICTURES", tmp_path / "none.parquet")
        with pytest.raises(UserError, match="Install Overtone again"):
            load("emoji")

    def test_the_set_that_is_shipped(self):
        splits = load("emoji")
        train, test, unseen = splits.train, splits.test, splits.unseen
        assert train.classes == test.classes
        assert len(train) == len(test) == 2 * len(train.classes)
        assert len(unseen) == 4 * len(unseen.classes)
        parts = [set(emoji_part(part).classes) for part in emoji.PARTS]
        assert sum(map(len, parts)) == len(set.union(*parts))
        array = np.asarray(few_shot(unseen, 1, 0).records[0].open())
        assert array.shape == (64, 64, 3)


class TestFindImages:
    def test_files_folders_and_patterns(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        for name in ("a 10.png", "a 2.JPG", "deep/er/x.gif", ".hidden.png", ".secret/y.png", "odd[1].png"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        (tmp_path / "notes.txt").touch()
        names = lambda *paths: [str(found) for found in find_images(paths)]  # noqa: E731
        assert names("a 10.png", "a 10.png") == ["a 10.png"]
        assert names("notes.txt") == ["notes.txt"]  # named outright: its content decides
        assert names("a*") == ["a 2.JPG", "a 10.png"]
        assert names("*") == ["a 2.JPG", "a 10.png", "deep/er/x.gif", "odd[1].png"]
        assert names("**/*.gif") == ["deep/er/x.gif"]
        assert names("odd[1].png") == ["odd[1].png"]
        assert names(".") == ["a 2.JPG", "a 10.png", "odd[1].png", "deep/er/x.gif"]
        assert names(str(tmp_path / "d*")) == [str(tmp_path / "deep/er/x.gif")]

    def test_nothing_there(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "picture.png").touch()
        (tmp_path / "folder").mkdir()
        for path in ("*.jpg", "x" * 300, "nul\0"):
            with pytest.raises(UserError, match="No picture at"):
                find_images(["picture.png", path])
        with pytest.raises(UserError, match=r"The folder 'folder' holds no pictures \("):
            find_images(["picture.png", "folder"])
        for path in ("", " "):
            with pytest.raises(UserError, match="An empty name among the pictures"):
                find_images([path])
        with pytest.raises(UserError, match=r"Did you mean 'picture.png'"):
            find_images(["pictures.png"])


@given(st.lists(st.text(max_size=8)))
def test_natural_order_is_an_order(names):
    ordered = sorted(names, key=natural_key)
    assert ordered == sorted(random.sample(names, len(names)), key=natural_key)


def test_natural_order():
    assert sorted(["b", "a10", "A2", "a2", "10", "9"], key=natural_key) == ["9", "10", "A2", "a2", "a10", "b"]


@pytest.mark.parametrize("items", [0, 1, AT_ONCE, AT_ONCE + 1])
def test_threads_keep_the_order(items):
    assert list(on_all_cores(lambda item: -item, range(items))) == list(range(0, -items, -1))
