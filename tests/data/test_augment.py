"""What is drawn for training pictures, and what is done with it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from overtone.data.augment import (
    ERASED_AREA,
    UNIFORM,
    Augmentation,
    Draws,
    crops,
    draw,
    erased,
    mixed,
    padded,
)


def noise(batch=5, channels=3, side=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (batch, channels, side, side), generator=generator, dtype=torch.uint8)


def draws(batch, flip=False, **columns):
    uniform = torch.zeros(batch, UNIFORM)
    for column, value in columns.items():
        uniform[:, ("side", "top", "left", "whether", "area", "aspect", "y", "x").index(column)] = value
    return Draws(uniform, torch.full((batch,), flip), torch.ones(batch))


class TestDraws:
    def test_they_follow_from_seed_and_epoch(self):
        augmentation = Augmentation(flip="random", mix=0.2)
        first = draw(augmentation, 50, seed=3, epoch=2)
        again = draw(augmentation, 50, seed=3, epoch=2)
        assert all(torch.equal(a, b) for a, b in zip(vars(first).values(), vars(again).values(), strict=True))
        for seed, epoch in ((3, 1), (4, 2)):
            assert not torch.equal(draw(augmentation, 50, seed, epoch).uniform, first.uniform)

    def test_a_picture_has_the_same_in_any_batch(self):
        all_of_them = draw(Augmentation(flip="random"), 50, 0, 0)
        assert torch.equal(all_of_them[torch.tensor([7, 3])].uniform[1], all_of_them.uniform[3])

    def test_alternating_flips_show_both_sides_in_two_epochs(self):
        flips = [draw(Augmentation(flip="alternating"), 1000, 0, epoch).flip for epoch in range(4)]
        assert torch.equal(flips[0], ~flips[1])
        assert torch.equal(flips[0], flips[2])
        assert torch.equal(flips[1], flips[3])
        assert 400 < flips[0].sum() < 600  # a coin: 500, 6 standard deviations are 95

    def test_nothing_is_flipped_or_mixed_unless_asked_for(self):
        nothing = draw(Augmentation(), 1000, 0, 0)
        assert not nothing.flip.any()
        assert (nothing.mix == 1).all()
        random = draw(Augmentation(flip="random", mix=0.2), 1000, 0, 0)
        assert 400 < random.flip.sum() < 600
        # Beta(a, a) has mean 1/2 and variance 1 / (4 (2a + 1)); six standard errors of 1,000 draws
        assert random.mix.mean() == pytest.approx(0.5, abs=6 * 0.423 / 1000**0.5)
        assert random.mix.var() == pytest.approx(1 / (4 * 1.4), abs=0.03)

    @pytest.mark.parametrize("wrong", [{"padding": -1}, {"erase": 1.5}, {"mix": -0.1}])
    def test_numbers_out_of_range(self, wrong):
        with pytest.raises(ValueError, match="padding and mix are 0 or more and erase is in"):
            Augmentation(**wrong)


class TestPadding:
    @pytest.mark.parametrize(("border", "mode"), [("reflect", "reflect"), ("zero", "constant")])
    def test_as_numpy_pads(self, border, mode):
        x = noise()
        p = 3
        expected = np.pad(x.numpy(), [(0, 0), (0, 0), (p, p), (p, p)], mode=mode)
        assert np.array_equal(padded(x, Augmentation(padding=p, border=border)).numpy(), expected)

    def test_no_padding_copies_nothing(self):
        x = noise()
        assert padded(x, Augmentation()) is x


class TestCrops:
    @settings(max_examples=50, deadline=None)
    @given(side=st.integers(1, 9), more=st.integers(0, 5), seed=st.integers(0, 99))
    def test_a_shifted_crop_is_a_window_of_the_picture(self, side, more, seed):
        x = noise(4, 2, side + more, seed)
        drawn = draw(Augmentation(flip="random"), 4, seed, 0)
        views = crops(x, drawn, side, Augmentation())
        for picture, view, flip in zip(x, views, drawn.flip, strict=True):
            view = view.flip(-1) if flip else view
            places = [(i, j) for i in range(more + 1) for j in range(more + 1)]
            assert any(torch.equal(picture[:, i : i + side, j : j + side], view) for i, j in places)

    def test_every_place_is_alike(self):
        """Three by three places, 9,000 draws: 1,000 each, and 6 standard deviations are 179."""
        x = torch.arange(9, dtype=torch.uint8).view(1, 1, 3, 3).expand(9000, -1, -1, -1)
        places = crops(x, draw(Augmentation(), 9000, 0, 0), 1, Augmentation()).flatten()
        assert np.bincount(places.numpy(), minlength=9) == pytest.approx(1000, abs=179)

    def test_a_draw_of_almost_one_stays_inside(self):
        just_below = float(np.nextafter(np.float32(1), np.float32(0)))
        x = noise(1, 1, 256)
        view = crops(x, draws(1, top=just_below, left=just_below), 1, Augmentation())
        assert view.item() == x[0, 0, -1, -1]

    def test_a_resized_crop_of_the_whole_is_the_whole(self):
        x = noise(2, 3, 8)
        view = crops(x, draws(2, side=0.0), 8, Augmentation(resize=True))
        assert torch.equal(view, x)

    def test_a_resized_crop_is_what_pillow_resizes(self):
        """A smooth picture, so that Pillow's bilinear filter, which also averages, sees what point sampling sees."""
        line = np.linspace(0, 255, 40)
        picture = np.rint((line[:, None] + line[::-1]) / 2).astype(np.uint8)
        u = {"side": 0.5, "top": 0.25, "left": 0.75}
        view = crops(torch.from_numpy(picture)[None, None], draws(1, **u), 20, Augmentation(resize=True))
        side = 20 + 0.5 * 20
        box = (0.75 * (40 - side), 0.25 * (40 - side), 0.75 * (40 - side) + side, 0.25 * (40 - side) + side)
        expected = Image.fromarray(picture).resize((20, 20), Image.Resampling.BILINEAR, box=box)
        assert np.abs(view[0, 0].numpy().astype(int) - np.asarray(expected)).max() <= 1  # rounding of 8 bits

    def test_a_flip_mirrors(self):
        x = noise()
        assert torch.equal(crops(x, draws(5, flip=True), 8, Augmentation()), x.flip(-1))


class TestErasing:
    def test_the_share_and_the_area_are_as_asked(self):
        """A quarter of 4,000 pictures, give or take 6 standard deviations of 27; each a whole rectangle of its area."""
        x = torch.ones(4000, 2, 32, 32)
        out = erased(x, draw(Augmentation(), 4000, 0, 0).uniform, 0.25)
        touched = (out == 0).flatten(1).any(dim=1)
        assert touched.sum() == pytest.approx(1000, abs=6 * 27.4)
        low, high = ERASED_AREA
        for hole in (out[touched] == 0)[:200]:
            assert torch.equal(hole[0], hole[1])
            rows, columns = hole[0].any(dim=1).sum(), hole[0].any(dim=0).sum()
            assert hole[0].sum() == rows * columns
            # Sides are rounded to pixels, and a long one is cut at the picture's.
            assert (min(rows, columns) - 0.5) * (max(rows, columns) - 0.5) <= high * 32 * 32 + 1e-3
            assert (rows + 0.5) * (columns + 0.5) >= low * 32 * 32 * 0.5

    def test_none_and_all(self):
        x = torch.ones(50, 1, 16, 16)
        uniform = draw(Augmentation(), 50, 0, 0).uniform
        assert torch.equal(erased(x, uniform, 0.0), x)
        assert (erased(x, uniform, 1.0).flatten(1) == 0).any(dim=1).all()


class TestMixing:
    def test_neighbours_are_mixed_and_their_labels_as_they_are(self):
        x, targets = torch.randn(4, 1, 2, 2), torch.eye(4)
        lam = torch.tensor([0.9, 0.6, 1.0, 0.0])
        y, mixture = mixed(x, targets, lam)
        assert torch.allclose(y[0], 0.9 * x[0] + 0.1 * x[1])
        assert torch.allclose(y[1], 0.6 * x[1] + 0.4 * x[0])
        assert torch.equal(y[2], x[2])
        assert torch.equal(y[3], x[2])
        assert torch.allclose(mixture[1], torch.tensor([0.4, 0.6, 0, 0]))
        assert torch.allclose(mixture.sum(dim=1), torch.ones(4))

    def test_half_a_batch_is_mixed_as_the_whole(self):
        x, targets, lam = torch.randn(8, 1, 2, 2), torch.eye(8), torch.rand(8)
        whole = mixed(x, targets, lam)
        halves = [mixed(x[half], targets[half], lam[half]) for half in (slice(4), slice(4, 8))]
        for part, parts in zip(whole, zip(*halves, strict=True), strict=True):
            assert torch.equal(part, torch.cat(parts))

    def test_the_last_of_an_odd_batch_stays_itself(self):
        x, targets = torch.randn(3, 1, 2, 2), torch.eye(3)
        y, mixture = mixed(x, targets, torch.full((3,), 0.3))
        assert torch.allclose(y[2], x[2])
        assert torch.allclose(mixture[2], targets[2])
