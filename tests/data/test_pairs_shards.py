"""Webdataset shards, whole, cut and in disorder; and the stream: its order, its division, what it passes over."""

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from pair_samples import encoded, file, pixels, samples, write_tar
from PIL import Image
from torch.utils.data import DataLoader

from overtone.data import pairs
from overtone.data.imageset import Skipped
from overtone.data.pairs import PairSet, PairSplits, PairStream, load_pairs
from overtone.data.pairs import stream as pairs_stream
from overtone.data.pairs.files import expand_braces
from overtone.data.pairs.set import Pair
from overtone.data.pairs.tar import TarShard, key_and_part, tar_shards
from overtone.errors import UserError


def shard(path: Path, members: Iterable[tuple[str, bytes]]) -> tuple[list[Pair], dict[str, str]]:
    """Write a shard, and return its pairs, and why the others are skipped by what is named."""
    write_tar(path, members)
    return read(tar_shards([path])[0][0])


def read(found: TarShard) -> tuple[list[Pair], dict[str, str]]:
    everything = list(found.samples())
    skipped = [item for item in everything if isinstance(item, Skipped)]
    said = {item.source.removeprefix(f"{found.path}").lstrip("/"): item.reason for item in skipped}
    return [item for item in everything if isinstance(item, Pair)], said


def captions(pairs: Iterable[Pair]) -> list[str]:
    return [pair.captions[0] for pair in pairs]


def numbers(pairs: Iterable[Pair]) -> list[int]:
    return [int(pair.captions[0].split()[-1]) for pair in pairs]


class TestShards:
    def test_plain_samples(self, tmp_path: Path) -> None:
        pairs, skipped = shard(tmp_path / "a.tar", samples(range(3)))
        assert captions(pairs) == ["picture 0", "picture 1", "picture 2"]
        assert pairs[1].source == f"{tmp_path}/a.tar/0001.png"
        assert np.array_equal(np.asarray(pairs[1].image.open()), pixels(1))
        assert not skipped

    def test_as_img2dataset_writes(self, tmp_path: Path) -> None:
        """A picture, its caption and what is known of it, under one key."""
        jpeg = encoded(pixels(0), "JPEG")
        members = [("000000000.jpg", jpeg), ("000000000.txt", b"a cat"), ("000000000.json", b'{"caption": "A cat!"}')]
        pairs, _ = shard(tmp_path / "00000.tar", members)
        assert captions(pairs) == ["a cat"]

    def test_captions_in_json(self, tmp_path: Path) -> None:
        bad = [b"[1]", b"{", b'{"captions": ["K\xe4fer"]}', b'{"captions": 3}', b'{"captions": [""]}', b"{}"]
        good = [json.dumps({"url": "x", "captions": ["a cat", "the cat"]}).encode()]
        members = [m for n, text in enumerate(good + bad) for m in ((f"a/{n}.png", file(n)), (f"a/{n}.json", text))]
        pairs, skipped = shard(tmp_path / "a.tar", members)
        assert [pair.captions for pair in pairs] == [("a cat", "the cat")]
        assert list(skipped.values()) == [
            "nothing in the column 'captions'",
            "its json is not JSON in UTF-8",
            "its json is not JSON in UTF-8",
            "no text in the column 'captions': '3'",
            "nothing in the column 'captions'",
            "nothing in the column 'captions'",
        ]
        assert set(skipped) == {f"a/{n}.png" for n in range(1, 7)}

    def test_parts_named(self, tmp_path: Path) -> None:
        members = [("1.jpg", file(1)), ("1.seg.png", file(2)), ("1.json", b'{"title": "one"}'), ("1.txt", b"two")]
        path = write_tar(tmp_path / "a.tar", members)
        found, (what, value, how) = tar_shards([path], "seg.png", "title")
        assert (what, value) == ("parts", "pictures from 'seg.png', captions from the key 'title' of 'json'")
        assert how == "named by you"
        assert captions(read(found[0])[0]) == ["one"]
        assert read(found[0])[0][0].source.endswith("1.seg.png")
        assert tar_shards([path])[1][1] == "pictures from 'jpg', captions from 'txt'"
        with pytest.raises(UserError, match=r"no such part or JSON key\. Did you mean 'title'\?"):
            tar_shards([path], caption_column="titel")
        with pytest.raises(
            UserError, match=r"no such part in the shards\. Did you mean 'jpg'\? Found: 'jpg', 'seg.png'"
        ):
            tar_shards([path], image_column="jpeg")

    def test_members_in_any_order(self, tmp_path: Path) -> None:
        """Text first, samples within samples, all pictures before all texts: as long as the keys say what belongs."""
        (a, b), (c, d), (e, f) = (samples([n]) for n in range(3))
        pairs, skipped = shard(tmp_path / "a.tar", [b, c, a, e, f, d])
        assert sorted(captions(pairs)) == ["picture 0", "picture 1", "picture 2"]
        assert [pixels(n).sum() for n in numbers(pairs)] == [np.asarray(pair.image.open()).sum() for pair in pairs]
        assert not skipped

    def test_samples_that_lack_a_part(self, tmp_path: Path) -> None:
        members = samples(range(5))
        members[2 * 4 + 1] = ("0004.txt", b" \n ")
        del members[2 * 3 + 1], members[2 * 1]  # the text of 3, the picture of 1
        pairs, skipped = shard(tmp_path / "a.tar", [*members, ("._0009.png", b"x"), ("readme.md", b"x")])
        assert captions(pairs) == ["picture 0", "picture 2"]
        assert skipped == {
            "0001": "captions without a picture",
            "0003": "a picture without captions",
            "0004.png": "the captions are empty",
        }

    def test_captions_that_are_not_utf8(self, tmp_path: Path) -> None:
        members = [("1.png", file(1)), ("1.txt", b"\xff\xfea"), ("2.png", file(2)), ("2.txt", "Käfer\nbug".encode())]
        pairs, skipped = shard(tmp_path / "a.tar", members)
        assert [pair.captions for pair in pairs] == [("Käfer", "bug")]
        assert skipped == {"1.png": "the captions are not UTF-8 text (byte 0): save them as UTF-8"}

    @pytest.mark.parametrize("cut", range(0, 8192, 256))
    def test_a_shard_that_is_cut_anywhere(self, tmp_path: Path, cut: int) -> None:
        """What is whole before the cut is used, and the cut is said, wherever it falls."""
        whole = write_tar(tmp_path / "whole.tar", samples(range(4)))
        data = whole.read_bytes()
        (parts,) = {found.parts for found in tar_shards([whole])[0]}
        (tmp_path / "cut.tar").write_bytes(data[:cut])
        pairs, skipped = read(TarShard(tmp_path / "cut.tar", parts))
        ends = [data.index(f"picture {n}".encode()) + 9 for n in range(4)]  # of the last byte of each sample
        assert len(pairs) == sum(end <= cut for end in ends)
        end_marked = 8 * 512 + sum(-(-len(body) // 512) * 512 for _, body in samples(range(4))) + 512
        assert ("" in skipped) == (cut < end_marked)

    def test_damage_in_the_middle(self, tmp_path: Path) -> None:
        path = write_tar(tmp_path / "a.tar", samples(range(3)))
        data = bytearray(path.read_bytes())
        start = data.index(b"0001.png")
        data[start : start + 512] = b"\x07" * 512
        path.write_bytes(data)
        pairs, skipped = read(tar_shards([path])[0][0])
        assert captions(pairs) == ["picture 0"]
        assert skipped == {"": f"damaged at byte {start:,}: no more can be read"}

    def test_a_first_shard_that_says_little(self, tmp_path: Path) -> None:
        """Cut before its first caption: what samples are made of is found in the next."""
        whole = write_tar(tmp_path / "a.tar", samples(range(3))).read_bytes()
        (tmp_path / "a.tar").write_bytes(whole[: whole.index(b"0000.txt")])
        write_tar(tmp_path / "b.tar", samples(range(3, 6)))
        splits = load_pairs(str(tmp_path))
        assert isinstance(splits.train, PairStream)
        assert sorted(numbers(splits.train)) == [3, 4, 5]
        assert splits.train.skipped[0] == Skipped(
            f"{tmp_path}/a.tar", "cut: the file ends without the mark that ends a tar file"
        )

    def test_names(self) -> None:
        assert key_and_part("a.b/c.d.JPG") == ("a.b/c", "d.jpg")
        assert key_and_part("c") == ("c", "")


class TestPatterns:
    def test_braces(self) -> None:
        assert expand_braces("a-{008..011}.tar") == ["a-008.tar", "a-009.tar", "a-010.tar", "a-011.tar"]
        assert expand_braces("{a,b}/{0..1}.tar") == ["a/0.tar", "a/1.tar", "b/0.tar", "b/1.tar"]
        assert expand_braces("a.tar") == ["a.tar"]
        for bad in ("a-{0..1.tar", "a-{{0..1}}.tar", "a-{3..1}.tar", "{0..99999}{0..99999}"):
            with pytest.raises(UserError):
                expand_braces(bad)

    def test_shards_that_are_missing_are_skipped(self, tmp_path: Path) -> None:
        for n in (0, 2):
            write_tar(tmp_path / f"s-00{n}.tar", samples(range(10 * n, 10 * n + 10)))
        splits = load_pairs(f"{tmp_path}/s-{{000..002}}.tar")
        assert splits.skipped == (Skipped(f"{tmp_path}/s-001.tar", "there is no such file"),)
        assert len(everything(splits)) == 20
        assert len(everything(load_pairs(f"{tmp_path}/s-*.tar"))) == 20
        with pytest.raises(UserError, match=r"No file is called .* the first looked for was .*Did you mean .*s-00"):
            load_pairs(f"{tmp_path}/t-{{000..002}}.tar")

    @pytest.mark.parametrize("layout", ["{}/00.tar", "set-{}-000.tar"])
    def test_levels_by_names(self, tmp_path: Path, layout: str) -> None:
        for level, held in (("train", range(10)), ("validation", range(10, 14)), ("test", range(14, 16))):
            write_tar(tmp_path / layout.format(level), samples(held))
        splits = load_pairs(str(tmp_path))
        assert isinstance(splits.train, PairStream)
        assert sorted(numbers(splits.train)) == list(range(10))
        assert (numbers(splits.validation.pairs), numbers(splits.test.pairs)) == ([10, 11, 12, 13], [14, 15])
        assert not splits.opened

    def test_a_picture_beside_an_archive_makes_a_folder(self, tmp_path: Path) -> None:
        write_tar(tmp_path / "old.tar", samples(range(3)))
        for name, data in samples(range(4, 9)):
            (tmp_path / name).write_bytes(data)
        assert isinstance(load_pairs(str(tmp_path)).train, PairSet)


def everything(splits: PairSplits) -> list[int]:
    assert isinstance(splits.train, PairStream)
    return sorted(numbers([*splits.train, *splits.validation.pairs, *splits.test.pairs]))


@pytest.fixture
def stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PairStream:
    """Six shards of uneven size, 57 pairs, through a buffer of 8."""
    monkeypatch.setattr(pairs_stream, "BUFFER", 8)
    first = 0
    for number, size in enumerate((12, 5, 20, 1, 9, 10)):
        write_tar(tmp_path / f"{number}.tar", samples(range(first, first + size)))
        first += size
    return PairStream(tar_shards(sorted(tmp_path.glob("*.tar")))[0], seed=5)


class TestStream:
    def test_each_pair_once_in_an_order_of_its_own(self, stream: PairStream) -> None:
        order = numbers(stream)
        assert sorted(order) == list(range(57))
        assert order != sorted(order)
        assert numbers(stream) == order
        stream.set_epoch(1)
        assert sorted(numbers(stream)) == list(range(57))
        assert numbers(stream) != order
        stream.set_epoch(0)
        assert numbers(stream) == order
        assert numbers(PairStream(stream.shards, seed=6)) != order

    def test_a_pair_is_decoded(self, stream: PairStream) -> None:
        for pair in stream:
            assert isinstance(pair.image.encoded, np.ndarray)
            assert np.array_equal(np.asarray(pair.image.open()), pixels(*numbers([pair])))

    @pytest.mark.filterwarnings("ignore:This DataLoader will create")
    @pytest.mark.parametrize("workers", [1, 2, 4, 9])
    def test_workers_divide_it(self, stream: PairStream, workers: int) -> None:
        """Of nine workers, for six shards, each reads its part of all of them."""
        first = numbers(DataLoader(stream, batch_size=None, num_workers=workers))
        assert sorted(first) == list(range(57))
        assert numbers(DataLoader(stream, batch_size=None, num_workers=workers)) == first

    @pytest.mark.parametrize("count", [2, 4, 7])
    def test_processes_divide_it(self, stream: PairStream, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WORLD_SIZE", str(count))
        parts = []
        for rank in range(count):
            monkeypatch.setenv("RANK", str(rank))
            parts += numbers(DataLoader(stream, batch_size=None, num_workers=2))
        assert sorted(parts) == list(range(57))

    def test_two_real_processes(self, stream: PairStream, tmp_path: Path) -> None:
        code = (
            "import sys; from overtone.data.pairs import PairStream; from overtone.data.pairs.tar import tar_shards;"
            "from pathlib import Path; paths = sorted(Path(sys.argv[1]).glob('*.tar'));"
            "print(*(pair.captions[0].split()[1] for pair in PairStream(tar_shards(paths)[0], seed=5)))"
        )
        runs = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(tmp_path)],
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": "src", "RANK": rank, "WORLD_SIZE": "2"},
            )
            for rank in "01"
        ]
        said = [[int(word) for word in run.communicate()[0].split()] for run in runs]
        assert sorted(said[0] + said[1]) == list(range(57))
        assert said[0]
        assert said[1]

    def test_an_epoch_set_is_seen_by_workers_that_live_on(self, stream: PairStream) -> None:
        loader = DataLoader(stream, batch_size=None, num_workers=2, persistent_workers=True)
        orders = []
        for epoch in (0, 1, 0):
            stream.set_epoch(epoch)
            orders.append(numbers(loader))
        assert orders[0] == orders[2] != orders[1]
        assert stream.epoch == 0

    def test_bad_samples_are_passed_over_and_listed(self, tmp_path: Path) -> None:
        members = samples(range(6))
        members[0] = ("0000.png", b"no picture")
        members[3] = ("0001.txt", b"")
        write_tar(tmp_path / "a.tar", members)
        whole = write_tar(tmp_path / "b.tar", samples(range(6, 12))).read_bytes()
        (tmp_path / "b.tar").write_bytes(whole[: whole.index(b"0009.txt") - 512])
        write_tar(tmp_path / "c.tar", samples(range(12, 15)))
        stream = PairStream(tar_shards([tmp_path / f"{name}.tar" for name in "abc"])[0])
        assert stream.skipped == ()
        for workers in (0, 2):
            loader = DataLoader(stream, batch_size=None, num_workers=workers)
            assert sorted(numbers(loader)) == [2, 3, 4, 5, 6, 7, 8, 12, 13, 14]
            said = {item.source.removeprefix(f"{tmp_path}/"): item.reason for item in stream.skipped}
            assert len(said) == len(stream.skipped) == 3
            assert said["a.tar/0000.png"].startswith("not a picture")
            assert said["a.tar/0001.png"] == "the captions are empty"
            assert said["b.tar"] == "cut in the middle: the file ends within '0009.png'"

    def test_of_very_many_bad_samples_the_first_are_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pairs_stream, "LISTED", 2)
        members = [*samples([1]), *((f"x{n}.png", b"") for n in range(7))]
        stream = PairStream(tar_shards([write_tar(tmp_path / "a.tar", members)])[0])
        assert numbers(stream) == [1]
        assert [item.source.rpartition("/")[2] for item in stream.skipped] == ["x0", "x1", "a.tar"]
        assert stream.skipped[2].reason == "5 more bad samples"

    def test_it_can_be_sent_to_another_process(self, stream: PairStream) -> None:
        copy = pickle.loads(pickle.dumps(stream))
        assert numbers(copy) == numbers(stream)

    def test_its_log_goes_when_it_goes(self, tmp_path: Path) -> None:
        stream = PairStream(tar_shards([write_tar(tmp_path / "a.tar", samples([1]))])[0])
        log = stream._log.path
        list(DataLoader(stream, batch_size=None, num_workers=1))
        assert log.exists()
        del stream
        assert not log.exists()

    def test_no_shards(self) -> None:
        with pytest.raises(ValueError, match="shards is empty"):
            PairStream([])


class TestHeldOut:
    def write(self, folder: Path) -> None:
        """Write 100 samples, and in another shard a copy of each picture that is smaller and has another caption."""
        write_tar(folder / "a.tar", ((f"{n:04}.{e}", d) for n in range(100) for e, d in self.sample(n, 8, n)))
        write_tar(folder / "b.tar", ((f"{n:04}.{e}", d) for n in range(100) for e, d in self.sample(n, 6, n + 100)))

    def sample(self, picture: int, scale: int, number: int) -> list[tuple[str, bytes]]:
        image = np.asarray(Image.fromarray(pixels(picture, 8)).resize((9 * scale, 8 * scale)))
        return [("png", encoded(image)), ("txt", f"no. {number}".encode())]

    def test_nothing_like_it_streams_by(self, tmp_path: Path) -> None:
        self.write(tmp_path)
        splits = load_pairs(str(tmp_path))
        assert isinstance(splits.train, PairStream)
        held = numbers([*splits.validation.pairs, *splits.test.pairs])
        learned = numbers(splits.train)
        assert (len(splits.validation), len(splits.test), len(held)) == (10, 10, 20)
        assert not {n % 100 for n in held} & {n % 100 for n in learned}
        assert len(learned) == 200 - 2 * len({n % 100 for n in held})
        assert splits.opened
        assert load_pairs(str(tmp_path)).test == splits.test
        said = next((value, how) for what, value, how in splits.choices if what == "test pairs")
        assert said == ("5 % of the first 200, 10 pairs", "made here with seed 0: the shards have no test level")

    def test_it_is_drawn_from_the_first_of_a_long_stream(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.write(tmp_path)
        monkeypatch.setattr(pairs, "SAMPLE", 60)
        splits = load_pairs(str(tmp_path))
        assert (len(splits.validation), len(splits.test)) == (3, 3)
        assert isinstance(splits.train, PairStream)
        held = {n % 100 for n in numbers([*splits.validation.pairs, *splits.test.pairs])}
        assert len(numbers(splits.train)) == 200 - 2 * len(held)

    def test_a_bad_picture_among_those_held_out(self, tmp_path: Path) -> None:
        members = [(f"{n}.{e}", d) for n in range(8) for e, d in (("png", b"x"), ("txt", str(n).encode()))]
        write_tar(tmp_path / "a.tar", members)
        with pytest.raises(UserError, match="None of the 1 pictures can be used"):
            load_pairs(str(tmp_path / "a.tar"))

    def test_nothing_to_learn_from(self, tmp_path: Path) -> None:
        (tmp_path / "a.tar").write_bytes(b"x" * 2000)
        with pytest.raises(UserError, match=r"Nothing can be read in any of 1 shards\. The first, .*no whole tar file"):
            load_pairs(str(tmp_path / "a.tar"))
        write_tar(tmp_path / "a.tar", [("1.png", file(1)), ("1.md", b"x")])
        with pytest.raises(UserError, match=r"No captions in the shards\. Found: 'png', 'md'"):
            load_pairs(str(tmp_path / "a.tar"))
        write_tar(tmp_path / "a.tar", [("1.md", b"x")])
        with pytest.raises(UserError, match="No pictures in the shards"):
            load_pairs(str(tmp_path / "a.tar"))
        write_tar(tmp_path / "a.tar", [("1.png", file(1)), ("2.txt", b"x")])
        with pytest.raises(UserError, match=r"No sample of .* can be used \(2 bad samples\)\. The first"):
            load_pairs(str(tmp_path / "a.tar"))
        write_tar(tmp_path / "a.tar", samples([1]))
        with pytest.raises(UserError, match="One pair alone"):
            load_pairs(str(tmp_path / "a.tar"))
        write_tar(
            tmp_path / "a.tar", [(name, b"a photo" if name.endswith("txt") else d) for name, d in samples([1, 2])]
        )
        with pytest.raises(UserError, match="All 2 captions"):
            load_pairs(str(tmp_path / "a.tar"))
        (tmp_path / "a.csv").write_text("image,caption")
        with pytest.raises(UserError, match="Files of one kind are read together"):
            load_pairs(f"{tmp_path}/a.{{tar,csv}}")
