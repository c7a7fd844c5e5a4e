"""From pictures to what a network takes: framed, kept in memory or read when needed, normalised, viewed."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from overtone.data import ImageSet, Record, Skipped
from overtone.data import pixels as module
from overtone.data.augment import Augmentation
from overtone.data.pixels import (
    Framing,
    MemoryPixels,
    Normalise,
    Pixels,
    Views,
    evenly,
    mean_and_deviation,
    read_pixels,
)
from overtone.errors import UserError

FRAMING = Framing(size=6, stored=8, channels=3)


def held(count: int, side: int = 8, channels: int = 3) -> ImageSet:
    """Pictures in memory, two classes in turn."""
    rng = np.random.default_rng(0)
    shape = (side, side, channels) if channels > 1 else (side, side)
    return ImageSet(
        tuple(Record(f"p{i}", i % 2, encoded=rng.integers(256, size=shape).astype(np.uint8)) for i in range(count)),
        ("even", "odd"),
    )


class TestFraming:
    def test_the_middle_square_of_a_wide_picture(self) -> None:
        columns = np.repeat(np.arange(16, dtype=np.uint8)[None], 8, axis=0)
        square = Framing(8, 8, 1).square(Image.fromarray(columns))
        assert np.array_equal(square[0], columns[:, 4:12])

    @pytest.mark.parametrize("size", [(8, 8), (3, 50), (640, 480)])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_any_picture_has_the_same_form(self, size: tuple[int, int], channels: int) -> None:
        square = Framing(6, 8, channels).square(Image.new("RGB", size, (10, 200, 30)))
        assert square.shape == (channels, 8, 8)
        assert square.dtype == np.uint8
        grey = round(0.299 * 10 + 0.587 * 200 + 0.114 * 30)
        assert np.unique(square).tolist() == ([grey] if channels == 1 else [10, 30, 200])

    @pytest.mark.parametrize(("channels", "held_channels"), [(1, 1), (3, 3), (3, 1), (1, 3)])
    def test_pixels_in_memory_are_taken_as_a_file_of_them_is(self, channels: int, held_channels: int) -> None:
        framing = Framing(8, 8, channels)
        record = held(1, 8, held_channels).records[0]
        assert np.array_equal(framing.square(record), framing.square(record.open()))

    def test_what_a_network_sees_is_the_middle(self) -> None:
        squares = torch.arange(64, dtype=torch.uint8).view(1, 8, 8)
        assert torch.equal(FRAMING.middle(squares), squares[:, 1:7, 1:7])

    def test_sizes_that_cannot_be(self) -> None:
        with pytest.raises(ValueError, match="channels is 4: pictures have 1"):
            Framing(8, 8, 4)
        with pytest.raises(ValueError, match="size is 9: it must be from 1 to stored, which is 8"):
            Framing(9, 8, 3)


class TestReading:
    def test_bad_pictures_are_parted_from_good_ones(self, tmp_path: Path) -> None:
        Image.new("RGB", (9, 9), "red").save(tmp_path / "good.png")
        (tmp_path / "bad.png").write_bytes(b"no picture")
        records = [Record(str(tmp_path / f"{name}.png"), i) for i, name in enumerate(("bad", "good", "none"))]
        pixels, skipped = read_pixels(ImageSet(tuple(records), ("a", "b", "c")), FRAMING, "cpu")
        assert isinstance(pixels, MemoryPixels)
        assert pixels.labels.tolist() == [1]
        assert pixels.kept[0, :, 0, 0].tolist() == [255, 0, 0]
        assert [(Path(item.source).name, item.reason.split()[0]) for item in skipped] == [
            ("bad.png", "not"),
            ("none.png", "there"),
        ]

    def test_pixels_with_no_number_in_them(self) -> None:
        picture = np.full((8, 8, 3), 0.5)
        broken = picture.copy()
        broken[3, 3] = np.nan
        images = ImageSet((Record("good", 0, encoded=picture), Record("nan", 1, encoded=broken)), ("a", "b"))
        pixels, skipped = read_pixels(images, FRAMING, "cpu")
        assert len(pixels) == 1
        assert skipped == [
            Skipped("nan", "values from nan to nan, where 0 to 1 is read; save it with 8 bits a channel")
        ]

    def test_only_bad_pictures(self) -> None:
        with pytest.raises(UserError, match=r"None of the 1 pictures can be used. The first, 'gone.png': there is no"):
            read_pixels(ImageSet((Record("gone.png", 0),), ("a",)), FRAMING, "cpu")

    @pytest.mark.parametrize("label", [2, -1])
    def test_a_label_outside_the_range(self, label: int) -> None:
        images = ImageSet((Record("p", label, encoded=np.zeros((8, 8), np.uint8)),), ("a", "b"))
        with pytest.raises(ValueError, match=f"'p' has the label {label}, where 0 to 1 is expected"):
            read_pixels(images, FRAMING, "cpu")

    def test_what_does_not_fit_is_read_when_needed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        images = held(10)
        monkeypatch.setattr("overtone.data.threads.AT_ONCE", 3)
        kept, _ = read_pixels(images, FRAMING, "cpu")
        monkeypatch.setattr(module, "MEMORY", 10 * 3 * 64 - 1)
        read, _ = read_pixels(images, FRAMING, "cpu")
        assert type(read) is Pixels
        assert isinstance(kept, MemoryPixels)
        rows = torch.tensor([7, 0])
        assert torch.equal(read.squares(rows), kept.squares(rows))
        assert torch.equal(read.sample(4).squares(torch.tensor([2])), kept.sample(4).squares(torch.tensor([2])))


class TestNumbers:
    def test_mean_and_deviation_are_those_of_all_pixels(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "BATCH", 3)
        images = held(10)
        mean, deviation = mean_and_deviation(read_pixels(images, FRAMING, "cpu")[0])
        values = np.stack([record.encoded for record in images.records]).reshape(-1, 3) / 255
        assert mean == pytest.approx(values.mean(axis=0), rel=1e-9)
        assert deviation == pytest.approx(values.std(axis=0), rel=1e-9)

    def test_a_set_of_one_colour_has_a_scale(self) -> None:
        images = ImageSet((Record("p", 0, encoded=np.full((8, 8), 7, np.uint8)),), ("a",))
        assert mean_and_deviation(read_pixels(images, Framing(8, 8, 1), "cpu")[0])[1] == pytest.approx((1 / 255,))

    def test_normalised(self) -> None:
        x = torch.tensor([[[[0]], [[255]]]], dtype=torch.uint8)
        assert Normalise((0.5, 0.25), (0.5, 0.25))(x).flatten().tolist() == [-1, 3]

    def test_evenly_chosen_rows(self) -> None:
        assert evenly(5, 9).tolist() == [0, 1, 2, 3, 4]
        assert evenly(101, 3).tolist() == [0, 50, 100]


class TestViews:
    @pytest.mark.parametrize("augmentation", [Augmentation(padding=2, flip="random"), Augmentation(resize=True)])
    def test_a_view_follows_from_row_and_epoch(
        self, augmentation: Augmentation, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        kept = Views(read_pixels(held(10), FRAMING, "cpu")[0], augmentation, seed=1)
        monkeypatch.setattr(module, "MEMORY", 0)
        read = Views(read_pixels(held(10), FRAMING, "cpu")[0], augmentation, seed=1)
        assert (kept.in_memory, read.in_memory) == (True, False)
        kept.set_epoch(3)
        read.set_epoch(3)
        batch, other = kept.__getitems__([4, 9, 1]), read.__getitems__([1, 4])
        assert batch["pixels"].shape == (3, 3, 6, 6)
        assert batch["labels"].tolist() == [0, 1, 1]
        for name, values in batch.items():
            assert torch.equal(values[[2, 0]], other[name]), name
        kept.set_epoch(4)
        assert not torch.equal(kept.__getitems__([4, 9, 1])["pixels"], batch["pixels"])

    def test_with_nothing_to_draw_a_view_is_what_is_evaluated(self) -> None:
        pixels, _ = read_pixels(held(10), Framing(8, 8, 3), "cpu")
        views = Views(pixels, Augmentation(), 0).__getitems__(list(range(10)))
        assert torch.equal(views["pixels"], pixels.squares(torch.arange(10)))
