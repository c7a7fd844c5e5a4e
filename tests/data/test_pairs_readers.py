"""Pairs in folders, tables, parquet files and the emoji set, each in its exact layout, and what is wrong with some."""

import json
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pair_samples import encoded, file, pixels, samples, write_folder, write_tar
from torch.utils.data import DataLoader

from overtone.data.folders import find_images
from overtone.data.pairs import PairSet, PairSplits, check_pairs, load_pairs
from overtone.errors import UserError


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def found(splits: PairSplits) -> dict[str, tuple[str, ...]]:
    """Captions by the name of the file, over all sets."""
    assert isinstance(splits.train, PairSet)
    everything = [*splits.train.pairs, *splits.validation.pairs, *splits.test.pairs]
    return {Path(pair.source).name: pair.captions for pair in everything}


def sizes(splits: PairSplits) -> tuple[int, int, int]:
    assert isinstance(splits.train, PairSet)
    return len(splits.train), len(splits.validation), len(splits.test)


def reasons(splits: PairSplits, place: Path) -> dict[str, str]:
    return {item.source.removeprefix(f"{place}").lstrip("/ "): item.reason for item in splits.skipped}


class TestFolders:
    def test_pictures_beside_their_captions(self, tmp_path: Path) -> None:
        write_folder(tmp_path / "data", range(3))
        write_folder(tmp_path / "data" / "deep" / "er", range(3, 6))
        (tmp_path / "data" / "0000.txt").write_text("﻿a  cat \r\n\n the cat\na cat\n", encoding="utf-8")
        splits = load_pairs(str(tmp_path / "data"))
        expected = {f"{n:04}.png": (f"picture {n}",) for n in range(1, 6)} | {"0000.png": ("a cat", "the cat")}
        assert found(splits) == expected
        assert splits.skipped == ()
        assert splits.opened

    def test_a_pair_opens_as_rgb(self, tmp_path: Path) -> None:
        pair = load_pairs(str(write_folder(tmp_path, [7, 8]))).train[0]
        assert np.array_equal(np.asarray(pair.image.open()), pixels(7))
        assert (pair.source, pair.captions) == (str(tmp_path / "0007.png"), ("picture 7",))

    @pytest.mark.parametrize("val", ["val", "VALID", "Validation"])
    def test_levels(self, tmp_path: Path, val: str) -> None:
        write_folder(tmp_path / "train", range(4))
        write_folder(tmp_path / val / "below", range(4, 7))
        write_folder(tmp_path / "Test", range(7, 9))
        write_folder(tmp_path / "other", range(9, 10))
        splits = load_pairs(str(tmp_path))
        assert sizes(splits) == (4, 3, 2)
        assert ("files left out", "2 files", "they stand beside the levels") in splits.choices
        assert not splits.opened

    def test_what_is_wrong_is_skipped_and_listed(self, tmp_path: Path) -> None:
        write_folder(tmp_path, range(8))
        (tmp_path / "0000.txt").unlink()
        (tmp_path / "0001.png").unlink()
        (tmp_path / "0002.txt").write_text(" \n\t\n")
        (tmp_path / "0003.txt").write_bytes("Käfer".encode("latin-1"))
        (tmp_path / "0004.png").write_bytes(file(4)[:60])
        (tmp_path / "0005.png").write_bytes(b"")
        splits = load_pairs(str(tmp_path))
        assert found(splits) == {"0006.png": ("picture 6",), "0007.png": ("picture 7",)}
        said = reasons(splits, tmp_path)
        assert said["0000.png"] == "no 0000.txt beside it"
        assert said["0001.txt"] == "a text with no picture of its name beside it"
        assert said["0002.png"] == "the captions are empty"
        assert said["0003.png"] == "the captions are not UTF-8 text (byte 1): save them as UTF-8"
        assert said["0004.png"].startswith("cannot be decoded")
        assert said["0005.png"] == "the file is empty (0 bytes)"
        assert len(said) == 6

    def test_given_levels_are_opened_when_asked(self, tmp_path: Path) -> None:
        for level, numbers in (("train", range(4)), ("val", range(4, 6)), ("test", range(6, 8))):
            write_folder(tmp_path / level, numbers)
        (tmp_path / "val" / "0004.png").write_bytes(b"nothing")
        splits = load_pairs(str(tmp_path))
        assert (sizes(splits), splits.opened) == ((4, 2, 2), False)
        seen = []
        checked = check_pairs(splits, lambda done, of: seen.append((done, of)))
        assert (sizes(checked), len(checked.skipped), checked.opened) == ((4, 1, 2), 1, True)
        assert seen == [(1, 4), (2, 4), (3, 4), (4, 4), (1, 2), (2, 2), (1, 2), (2, 2)]
        assert check_pairs(checked) is checked

    def test_nothing_good(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="which holds no files"):
            load_pairs(str(tmp_path))
        write_folder(tmp_path, range(2))
        for text in tmp_path.glob("*.txt"):
            text.unlink()
        with pytest.raises(UserError, match=r"holds 2 pictures .* The first, '.*0000.png': no 0000.txt beside it"):
            load_pairs(str(tmp_path))
        (tmp_path / "captions.csv").write_text("image,caption\n")
        with pytest.raises(UserError, match=r"Is it 'captions.csv' that has the captions\? Name that\."):
            load_pairs(str(tmp_path))
        for name, data in (("0000.txt", b"a"), ("0000.png", b"x"), ("0001.txt", b"b"), ("0001.png", b"x")):
            (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match="None of the 2 pictures can be used"):
            load_pairs(str(tmp_path))

    def test_nothing_to_tell_apart(self, tmp_path: Path) -> None:
        write_folder(tmp_path, [0])
        with pytest.raises(UserError, match="One pair alone"):
            load_pairs(str(tmp_path))
        write_folder(tmp_path, range(5))
        for text in tmp_path.glob("*.txt"):
            text.write_text("a photo")
        with pytest.raises(UserError, match=r"All 5 captions of .* are the same, 'a photo'"):
            load_pairs(str(tmp_path))

    def test_two_folders_of_one_level(self, tmp_path: Path) -> None:
        write_folder(tmp_path / "val", range(2))
        write_folder(tmp_path / "valid", range(2, 4))
        with pytest.raises(UserError, match="Two folders are the val level"):
            load_pairs(str(tmp_path))

    def test_links_to_folders_are_followed(self, tmp_path: Path) -> None:
        write_folder(tmp_path / "elsewhere" / "deep", range(3))
        data = write_folder(tmp_path / "data", range(3, 6))
        (data / "linked").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "elsewhere" / "deep" / "back").symlink_to(data)  # a loop
        (data / "itself").symlink_to("itself")
        splits = load_pairs(str(data))
        assert found(splits) == {f"{n:04}.png": (f"picture {n}",) for n in range(6)}
        assert sum(sizes(splits)) == 6
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "linked").symlink_to(data)
        assert len(find_images([str(tmp_path / "other")])) == 6

    def test_shards_beside_pictures(self, tmp_path: Path) -> None:
        write_folder(tmp_path, range(3))
        (tmp_path / "b.parquet").touch()
        write_tar(tmp_path / "deep" / "a.tar", samples(range(3, 6)))
        splits = load_pairs(str(tmp_path))
        assert sum(sizes(splits)) == 3
        how = "pictures beside their texts alone are read"
        assert ("shards left out", "2 files: 'a.tar', 'b.parquet'", how) in splits.choices

    def test_shards_of_two_kinds(self, tmp_path: Path) -> None:
        write_tar(tmp_path / "a.tar", samples(range(6)))
        (tmp_path / "b.parquet").touch()
        choices = load_pairs(str(tmp_path)).choices
        assert ("shards left out", "1 file: 'b.parquet'", ".tar files alone are read") in choices

    def test_what_lies_here_is_not_streamed_from_the_hub(self, tmp_path: Path) -> None:
        for data in ("emoji", str(write_folder(tmp_path / "data", range(3))), str(tmp_path / "{a,b}.tar")):
            with pytest.raises(UserError, match=r"--stream is for sets of the hub.*; \.tar shards are always streamed"):
                load_pairs(data, stream=True)

    def test_columns_of_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="Columns are named for tables"):
            load_pairs(str(write_folder(tmp_path, range(3))), caption_column="text")

    def test_no_such_place(self, tmp_path: Path) -> None:
        (tmp_path / "pairs").mkdir()
        with pytest.raises(UserError, match=r"no such file or folder\. Did you mean '.*pairs'\?"):
            load_pairs(str(tmp_path / "pears"))
        (tmp_path / "notes.pdf").write_bytes(b"x")
        with pytest.raises(UserError, match=r"notes.pdf' is nothing that pairs are read from"):
            load_pairs(str(tmp_path / "notes.pdf"))


class TestTables:
    @pytest.mark.parametrize(("ending", "separator"), [("csv", ","), ("tsv", "\t"), ("csv", ";"), ("txt", "|")])
    def test_separators_are_sniffed_and_rows_of_a_picture_joined(
        self, tmp_path: Path, ending: str, separator: str
    ) -> None:
        write_folder(tmp_path / "pictures", range(3))
        rows = [("image_name", "comment_number", "comment"), ("pictures/0000.png", "0", "a cat, sitting; here | there")]
        rows += [("pictures/0000.png", "1", "the cat"), ("pictures/0001.png", "0", "a dog"), ("", "", "")]
        rows += [("pictures/0002.png", "0", "Käfer")]
        text = "\n".join(separator.join(f'"{cell}"' for cell in row) for row in rows)
        (tmp_path / f"t.{ending}").write_text(text, encoding="utf-8")
        splits = load_pairs(str(tmp_path / f"t.{ending}"))
        captions = {"0000.png": ("a cat, sitting; here | there", "the cat"), "0001.png": ("a dog",)}
        assert found(splits) == captions | {"0002.png": ("Käfer",)}
        said = "pictures from 'image_name', captions from 'comment'"
        assert ("columns", said, "recognised by their names") in splits.choices

    def test_json_lines_with_texts_and_lists(self, tmp_path: Path) -> None:
        write_folder(tmp_path, range(4))
        rows = [
            {"file_name": "0000.png", "text": "a cat", "split": "train"},
            {"file_name": "0000.png", "text": ["the cat", "", None, "a cat"], "split": "train"},
            {"file_name": "0001.png", "text": ["a dog\nrunning"], "split": "train"},
            {"file_name": "0002.png", "text": "an emu", "split": "validation"},
            {"file_name": "0003.png", "text": "a fox", "split": "test"},
        ]
        (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
        splits = load_pairs(str(tmp_path / "t.jsonl"))
        assert sizes(splits) == (2, 1, 1)
        assert found(splits)["0000.png"] == ("a cat", "the cat")
        assert found(splits)["0001.png"] == ("a dog running",)

    def test_bad_rows_are_skipped_with_their_lines(self, tmp_path: Path) -> None:
        write_folder(tmp_path, range(3))
        rows = [b"image,caption,split", b"0000.png,a cat,train", b"0001.png,,train", b",a dog,train", b"9.png,x,train"]
        rows += [b"0001.png,K\xe4fer,train", b"0001.png,a dog,tarin", b"0000.png,the cat,test", b"0002.png", b"a,b,c,d"]
        rows += [b"0001.png,a dog,train", b"0002.png,an emu,train"]
        (tmp_path / "t.csv").write_bytes(b"\n".join(rows))
        splits = load_pairs(str(tmp_path / "t.csv"))
        assert found(splits) == {"0000.png": ("a cat",), "0001.png": ("a dog",), "0002.png": ("an emu",)}
        said = reasons(splits, tmp_path / "t.csv")
        assert said == {
            "line 3": "nothing in the column 'caption'",
            "line 4": "nothing in the column 'image'",
            "line 5": f"there is no file '{tmp_path}/9.png'",
            "line 6": "the column 'caption' is not UTF-8 text: save the table as UTF-8",
            "line 7": "'tarin' in the column 'split', where train, val or test is expected",
            "line 8": "another row puts this picture into another split than 'test'",
            "line 9": "nothing in the column 'caption'",
            "line 10": "4 cells, where the first line names 3 columns",
        }

    def test_bad_json(self, tmp_path: Path) -> None:
        write_folder(tmp_path, range(2))
        good = [json.dumps({"image": f"000{n}.png", "captions": [f"no. {n}"]}) for n in range(2)]
        bad = ["{", "[1]", '{"image": "0000.png", "captions": 5}', '{"image": "0000.png", "captions": []}']
        (tmp_path / "t.jsonl").write_text("\n".join([*good, *bad]))
        splits = load_pairs(str(tmp_path / "t.jsonl"))
        assert len(found(splits)) == 2
        assert [item.reason for item in splits.skipped] == [
            "not JSON: each line is one object",
            "not a JSON object",
            "no text in the column 'captions': '5'",
            "nothing in the column 'captions'",
        ]

    def test_columns_named(self, tmp_path: Path) -> None:
        write_folder(tmp_path, range(2))
        (tmp_path / "t.csv").write_text("a,what,text\n0000.png,one,x\n0001.png,two,x\n")
        splits = load_pairs(str(tmp_path / "t.csv"), image_column="a", caption_column="what")
        assert found(splits)["0000.png"] == ("one",)
        with pytest.raises(UserError, match=r"No column 'waht' in .* Did you mean 'what'\? .* --caption-column"):
            load_pairs(str(tmp_path / "t.csv"), image_column="a", caption_column="waht")
        with pytest.raises(UserError, match=r"No column of images .* Columns found: 'a', 'what', 'text'"):
            load_pairs(str(tmp_path / "t.csv"))

    def test_nothing_good(self, tmp_path: Path) -> None:
        (tmp_path / "t.csv").write_text("")
        with pytest.raises(UserError, match="is empty: it needs a column of picture files and one of captions"):
            load_pairs(str(tmp_path / "t.csv"))
        (tmp_path / "t.csv").write_text("image,caption\n1.png,x\n2.png,y\n")
        with pytest.raises(UserError, match=r"No row of .* can be used \(2 bad rows\). The first: there is no file"):
            load_pairs(str(tmp_path / "t.csv"))
        (tmp_path / "t.csv").write_bytes("image,caption\n1.png,x\n".encode("utf-16"))
        with pytest.raises(UserError, match="No column of images"):
            load_pairs(str(tmp_path / "t.csv"))


def write_parquet(path: Path, numbers: range, images: pa.Array | None = None, **columns: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = {"image": images if images is not None else [file(n) for n in numbers]}
    pq.write_table(pa.table(table | {"captions": [[f"picture {n}", f"no. {n}"] for n in numbers]} | columns), path)
    return path


class TestParquet:
    def forms(self, folder: Path, form: str) -> pa.Array:
        if form == "bytes":
            return pa.array([file(n) for n in range(6)])
        if form == "struct":
            return pa.array([{"bytes": file(n), "path": f"{n}.png"} for n in range(6)])
        write_folder(folder, range(6))
        if form == "struct of paths":
            kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
            return pa.array([{"bytes": None, "path": f"{n:04}.png"} for n in range(6)], kind)
        return pa.array([f"{n:04}.png" for n in range(6)])

    @pytest.mark.parametrize("form", ["bytes", "struct", "struct of paths", "paths"])
    def test_every_form_of_a_picture(self, tmp_path: Path, form: str) -> None:
        path = write_parquet(tmp_path / "t.parquet", range(6), self.forms(tmp_path, form))
        splits = load_pairs(str(path))
        assert sizes(splits) == (4, 1, 1)
        everything = [*splits.train.pairs, *splits.validation.pairs, *splits.test.pairs]  # type: ignore[union-attr]
        for pair in everything:
            number = int(pair.source.rpartition("/")[2])
            assert pair.source == f"{path}/{number}"
            assert pair.captions == (f"picture {number}", f"no. {number}")
            assert np.array_equal(np.asarray(pair.image.open()), pixels(number))
        said = "pictures from 'image', captions from 'captions'"
        assert ("columns", said, "by their types and names") in splits.choices

    def test_written_by_datasets(self, tmp_path: Path) -> None:
        """With the types in the file's metadata, as `Dataset.to_parquet` and the hub write them."""
        features = datasets.Features({"photo": datasets.Image(), "words": datasets.Value("string")})
        columns = {"photo": [{"bytes": file(n), "path": None} for n in range(3)], "words": ["a", "b", "c"]}
        datasets.Dataset.from_dict(columns, features=features).to_parquet(tmp_path / "t.parquet")
        splits = load_pairs(str(tmp_path / "t.parquet"))
        assert [pair.captions for pair in splits.train] == [("a",), ("b",), ("c",)]  # type: ignore[union-attr]

    def test_files_whose_names_are_levels(self, tmp_path: Path) -> None:
        for name, numbers in (("train-00000-of-00002", range(3)), ("train-00001-of-00002", range(3, 5))):
            write_parquet(tmp_path / "data" / f"{name}.parquet", numbers)
        write_parquet(tmp_path / "data" / "validation-00000-of-00001.parquet", range(5, 7))
        write_parquet(tmp_path / "data" / "test-00000-of-00001.parquet", range(7, 8))
        splits = load_pairs(str(tmp_path))
        assert sizes(splits) == (5, 2, 1)
        assert ("files", "test: 1, train: 2, val: 1", "by the names of files and folders") in splits.choices
        some = load_pairs(str(tmp_path / "data" / "train-0000{0..1}-of-00002.parquet"))
        assert sum(sizes(some)) == 5

    def test_a_column_of_splits(self, tmp_path: Path) -> None:
        words = ["train"] * 4 + ["validation", "test"]
        splits = load_pairs(str(write_parquet(tmp_path / "t.parquet", range(6), split=words)))
        assert sizes(splits) == (4, 1, 1)

    def test_bad_rows_and_files(self, tmp_path: Path) -> None:
        images = pa.array([file(0), None, file(2), file(3), b"no picture", file(5)])
        captions = [["a"], ["b"], [], [""], ["e"], ["f"]]
        write_parquet(tmp_path / "a.parquet", range(6), images, captions=captions)
        whole = write_parquet(tmp_path / "b.parquet", range(6, 9)).read_bytes()
        (tmp_path / "c.parquet").write_bytes(whole[: len(whole) // 2])
        splits = load_pairs(str(tmp_path))
        assert sum(sizes(splits)) == 5
        said = reasons(splits, tmp_path)
        assert said.pop("c.parquet").startswith("no whole parquet file")
        assert said.pop("4").startswith("not a picture")
        nothing = "nothing in the column 'captions'"
        assert said == {"1": "no picture", "2": nothing, "3": nothing}

    def test_nothing_good(self, tmp_path: Path) -> None:
        (tmp_path / "t.parquet").write_bytes(b"PAR1")
        with pytest.raises(UserError, match=r"None of 1 parquet files can be read\. The first"):
            load_pairs(str(tmp_path / "t.parquet"))
        path = write_parquet(tmp_path / "u.parquet", range(3), words=["a", "b", "c"])
        with pytest.raises(UserError, match=r"--caption-column 'wrods': no such column .* Did you mean 'words'\?"):
            load_pairs(str(path), caption_column="wrods")
        with pytest.raises(UserError, match="no such column"):
            load_pairs(str(path), image_column="imgae")
        pq.write_table(pa.table({"a": [1, 2], "b": [3, 4]}), tmp_path / "v.parquet")
        with pytest.raises(UserError, match=r"No column of pictures in .*: it has 'a', 'b'\. Name one"):
            load_pairs(str(tmp_path / "v.parquet"))
        pq.write_table(pa.table({"image": [b"1"], "a": ["x"], "b": ["y"]}), tmp_path / "w.parquet")
        with pytest.raises(UserError, match="No column of captions"):
            load_pairs(str(tmp_path / "w.parquet"))
        write_parquet(tmp_path / "x.parquet", range(2), pa.array([None, None], pa.binary()))
        with pytest.raises(UserError, match=r"No row of .* can be used. The first, .*/0: no picture"):
            load_pairs(str(tmp_path / "x.parquet"))


def test_emoji_with_names_and_keywords() -> None:
    splits = load_pairs("emoji")
    assert isinstance(splits.train, PairSet)
    everything = [*splits.train.pairs, *splits.validation.pairs, *splits.test.pairs]
    named = next(pair.captions for pair in everything if pair.source == "emoji/noto/grinning face")
    assert named[0] == "grinning face"
    assert "smile" in named
    assert not any(pair.source.startswith("emoji/fluent") for pair in everything)
    names = [{pair.captions[0] for pair in part} for part in (splits.train, splits.validation, splits.test)]  # type: ignore[attr-defined]
    assert sum(map(len, names)) == len(set.union(*names))
    with pytest.raises(UserError, match="the emoji set has none"):
        load_pairs("emoji", image_column="image")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_pair_set_in_a_loader(tmp_path: Path, workers: int) -> None:
    """Of parquet, whose pictures are in a file that each worker opens for itself, in a worker that shares nothing."""
    train = load_pairs(str(write_parquet(tmp_path / "t.parquet", range(3)))).train
    method = "spawn" if workers else None
    loader = DataLoader(train, 2, num_workers=workers, multiprocessing_context=method, collate_fn=opened)
    assert [n for batch in loader for n in batch] == [int(pixels(n).sum()) for n in range(3)]


def opened(pairs: list) -> list[int]:
    return [int(np.asarray(pair.image.open()).sum()) for pair in pairs]


def test_selecting(tmp_path: Path) -> None:
    train = load_pairs(str(write_folder(tmp_path, range(3)))).train
    assert isinstance(train, PairSet)
    assert [pair.captions[0] for pair in train.select([2, 0])] == ["picture 2", "picture 0"]  # type: ignore[attr-defined]
    assert encoded(np.asarray(train[1].image.open())) == file(1)


@pytest.mark.parametrize("data", ["", " "])
def test_no_name_is_not_the_folder_that_we_are_in(data: str) -> None:
    with pytest.raises(UserError, match="No data is named"):
        load_pairs(data)
