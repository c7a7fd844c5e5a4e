"""The parts of `pretrain`: batches, what is measured on, and the objective."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from pretrain_samples import KINDS, SIZE, draw, tiny, tokenizer
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils.data import DataLoader

from overtone.data import Record
from overtone.data import pixels as pixels_module
from overtone.data.imageset import Skipped
from overtone.data.pairs import Pair, PairSet, PairStream
from overtone.errors import UserError
from overtone.models.preparation import Preparation, plain_processor
from overtone.tasks.pretrain_data import BARREN, STORED, SetBatches, StreamBatches, framing, read_training
from overtone.tasks.pretrain_judging import CURVES, Judge, evaluation_pairs, zero_shot_sets
from overtone.tasks.pretrain_model import HIGHEST_SCALE, Objective, make_loss

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # Python 3.12


def pair(number: int, *captions: str) -> Pair:
    kind = KINDS[number % len(KINDS)]
    image = np.asarray(draw(kind, number).resize((20, 20)))
    return Pair(Record(f"{number}.png", 0, encoded=image), captions or (kind, f"a {kind}", f"picture {number}"))


PAIRS = PairSet(tuple(pair(number) for number in range(22)))
NAMED = PairSet(tuple(pair(number, f"picture {number}") for number in range(22)))  # told by their one caption


def preparation() -> Preparation:
    return Preparation(tokenizer(), plain_processor(SIZE), "bert", 12, SIZE)


def numbered(texts: Sequence[str]) -> Tensor:
    """Tokens that tell which captions they are of: their bytes."""
    return torch.tensor([list(text.ljust(24).encode()) for text in texts])


def said(batch: dict[str, Tensor]) -> list[str]:
    return [bytes(row).decode().strip() for row in batch["input_ids"].tolist()]


def batches(pairs: PairSet = PAIRS, seed: int = 0) -> SetBatches:
    pixels = read_training(pairs, SIZE, lambda done, of: None)
    return SetBatches(pairs, pixels, numbered, 6, seed)


def first(some: Any, count: int, **loader: Any) -> list[dict[str, Tensor]]:
    iterator = iter(DataLoader(some, batch_size=None, **loader))
    return [next(iterator) for _ in range(count)]


def equal(one: list[dict[str, Tensor]], other: list[dict[str, Tensor]]) -> bool:
    return all(
        a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a) for a, b in zip(one, other, strict=True)
    )


# Batches of a set


def test_an_epoch_has_each_pair_once_at_most_in_another_order_each_time() -> None:
    """22 pairs in batches of 6: four are left out of an epoch, not always the same."""
    data = batches(NAMED)
    assert data.steps == 3
    epochs = [[name for step in range(3) for name in said(data.batch(3 * epoch + step))] for epoch in range(2)]
    assert [len(set(names)) for names in epochs] == [18, 18]
    assert epochs[0] != epochs[1]


def test_the_order_of_an_epoch_is_drawn_once() -> None:
    data = batches()
    first, second = data.order(0), data.order(1)
    assert data.order(1) is second
    assert not np.array_equal(first, second)
    assert np.array_equal(first, data.order(0))
    steps = [4, 0, 5, 1]  # of two epochs, to and fro
    assert equal([data.batch(step) for step in steps], [batches().batch(step) for step in steps])


def test_views_are_crops_of_the_picture_and_captions_its_own() -> None:
    batch = batches().batch(0)
    assert batch["pixels"].shape == (6, 3, SIZE, SIZE)
    assert batch["pixels"].dtype == torch.uint8
    assert framing(SIZE).stored == 18 == STORED * SIZE
    assert set(said(batch)) <= {caption for p in PAIRS.pairs for caption in p.captions}
    again = batches().batch(0)
    assert torch.equal(batch["pixels"], again["pixels"])
    assert not torch.equal(batch["pixels"], batches(seed=1).batch(0)["pixels"])


def test_every_caption_has_its_turn() -> None:
    data = batches()
    drawn = {caption for step in range(60) for caption in said(data.batch(step))}
    assert drawn == {caption for p in PAIRS.pairs for caption in p.captions}


def test_processes_take_consecutive_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [batches().batch(step) for step in range(4)]
    monkeypatch.setenv("WORLD_SIZE", "3")
    parts = []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        data = batches()
        parts.append([data.batch(step) for step in range(4)])
    for step in range(4):
        for key in whole[step]:
            assert torch.equal(torch.cat([part[step][key] for part in parts]), whole[step][key])


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_workers_change_nothing(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = first(batches(), 7)
    monkeypatch.setattr("overtone.tasks.pretrain_data.MEMORY", 0)
    assert type(read_training(PAIRS, SIZE, lambda done, of: None)) is pixels_module.Pixels
    assert equal(first(batches(), 7, num_workers=workers), expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_passed_over_is_not_made(workers: int) -> None:
    data = batches()
    data.pass_over(3)
    found = first(data, 5, num_workers=workers)
    assert found[:3] == [{}, {}, {}]
    assert equal(found[3:], first(batches(), 5)[3:])


# Batches of a stream


class Shard:
    """Pairs in their order."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.name, self.pairs = f"shard of {len(pairs)}", pairs

    def samples(self) -> Any:
        return iter(self.pairs)


def stream(seed: int = 0, shards: int = 4) -> StreamBatches:
    parts = [Shard(PAIRS.pairs[i::shards]) for i in range(shards)]
    return StreamBatches(PairStream(parts, seed), SIZE, numbered, 5, seed)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_goes_on_for_ever_the_same_way(workers: int) -> None:
    found = first(stream(), 12, num_workers=workers)
    assert equal(first(stream(), 12, num_workers=workers), found)
    assert {tuple(batch["pixels"].shape) for batch in found} == {(5, 3, SIZE, SIZE)}
    passed = stream()
    passed.pass_over(7)
    again = first(passed, 12, num_workers=workers)
    assert again[:7] == [{}] * 7
    assert equal(again[7:], found[7:])


def test_workers_go_from_epoch_to_epoch_by_themselves() -> None:
    """Two workers, of eleven pairs each an epoch: in eleven batches of theirs, of five, each pair comes five times."""
    parts = [Shard(NAMED.pairs[i::2]) for i in range(2)]
    found = first(StreamBatches(PairStream(parts, 0), SIZE, numbered, 5, 0), 22, num_workers=2)
    counts = Counter(name for batch in found for name in said(batch))
    assert list(counts.values()) == [5] * 22


def test_processes_divide_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "5")
    seen = []
    for rank in range(5):
        monkeypatch.setenv("RANK", str(rank))
        batch = first(stream(), 1)[0]
        assert len(batch["pixels"]) == 1
        seen.append(batch["pixels"])
    assert len({tuple(p.flatten().tolist()) for p in seen}) == 5


def test_a_part_of_a_stream_with_nothing_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    data = StreamBatches(PairStream([Shard([])], 0), SIZE, numbered, 2, 0)
    with pytest.raises(UserError, match="has no pair that can be used"):
        next(iter(data))


class Flaky(Shard):
    """A shard that can be read only now and then."""

    def __init__(self, pairs: Sequence[Pair], good: Sequence[bool]) -> None:
        super().__init__(pairs)
        self.good = iter(good)

    def samples(self) -> Any:
        return iter(self.pairs if next(self.good, True) else [Skipped(self.name, "cannot be read")])


def test_a_part_of_a_stream_outlives_epochs_with_nothing_in_them() -> None:
    """Its one shard of each epoch could not be read, then it could."""
    data = StreamBatches(PairStream([Flaky(NAMED.pairs, [False] * (BARREN - 1))], 0), SIZE, numbered, 5, 0)
    assert len(set(said(first(data, 1)[0]))) == 5
    data = StreamBatches(PairStream([Flaky(NAMED.pairs, [True] + [False] * BARREN)], 0), SIZE, numbered, 5, 0)
    with pytest.raises(UserError, match="too short"):
        first(data, 5)  # after the four of the first epoch


@pytest.mark.parametrize("pairs", [5, 6, 9, 22])
def test_no_batch_of_a_stream_holds_a_pair_twice(pairs: int) -> None:
    """Where an epoch ends within a batch, the next one's pairs fill it; none is lost."""
    data = StreamBatches(PairStream([Shard(NAMED.pairs[:pairs])], 0), SIZE, numbered, 5, 0)
    found = [said(batch) for batch in first(data, 2 * pairs)]
    assert {len(set(names)) for names in found} == {5}
    counts = Counter(name for names in found for name in names)
    assert sorted(counts.values()) == [10] * pairs


def test_a_stream_shorter_than_its_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    data = StreamBatches(PairStream([Shard(NAMED.pairs[:3])], 0), SIZE, numbered, 256, 0)
    with pytest.raises(UserError, match=r"batches of 256 pairs: a part of it has 3, .* Give --batch-size 3 or fewer"):
        next(iter(data))
    monkeypatch.setenv("WORLD_SIZE", "3")
    data = StreamBatches(PairStream([Shard(NAMED.pairs[:3])], 0), SIZE, numbered, 6, 0)
    with pytest.raises(UserError, match=r"batches of 6 pairs: a part of it has 1, .* Give --batch-size 3 or fewer"):
        next(iter(data))


# What is measured on


def test_evaluation_pairs_have_each_text_once() -> None:
    pairs = PairSet((pair(0, "red", "square"), pair(1, "square"), pair(2, "bar")))
    found = evaluation_pairs(pairs, preparation())
    assert found is not None
    assert found.texts == ("red", "square", "bar")
    assert found.links.tolist() == [[0, 0], [0, 1], [1, 1], [2, 2]]
    assert found.first.tolist() == [0, 1, 2]
    assert torch.equal(found.pixels[0].float() / 255, preparation().pixels(pairs[0].image.open()))
    assert evaluation_pairs(pairs.select([0]), preparation()) is None
    most = evaluation_pairs(PAIRS, preparation(), 5)
    assert most is not None
    assert len(most.pixels) == 5


def test_captions_are_class_names_where_pictures_share_them() -> None:
    (found,) = zero_shot_sets("somewhere", PairSet((*PAIRS.pairs, *PAIRS.pairs)), preparation())
    assert found.names == tuple(KINDS)
    assert found.labels.tolist() == [i % len(KINDS) for i in range(22)] * 2
    assert zero_shot_sets("somewhere", PAIRS, preparation()) == []  # 22 pictures of 16 names
    assert zero_shot_sets("somewhere", PairSet((pair(0), pair(0))), preparation()) == []


def test_the_emoji_sets_are_unseen_concepts_in_styles_learned_from_and_another() -> None:
    seen, other = zero_shot_sets("emoji", PairSet(()), preparation(), most=7)
    assert seen.names == other.names
    assert len(seen.pixels) == len(other.pixels) == 7
    assert [part.group for part in (seen, other)] == [
        "new concepts, styles learned from",
        "new concepts, another style",
    ]


def test_what_is_measured_is_what_the_model_says() -> None:
    """Zero-shot by hand, in float64; and the model comes back as it was."""
    assembly = tiny()
    objective = Objective(assembly, make_loss("infonce", True, 5)).train()
    (part,) = zero_shot_sets("somewhere", PairSet((*PAIRS.pairs, *PAIRS.pairs)), preparation())
    judge = Judge(objective, assembly.preparation, evaluation_pairs(PAIRS, preparation()), [part])
    figures = judge.measure()
    assert objective.training
    objective.eval()
    with torch.no_grad():
        names = assembly.model.text(assembly.preparation.tokenize(part.names)).double()
        pixels = torch.stack([preparation().pixels(p.image.open()) for p in (*PAIRS.pairs, *PAIRS.pairs)])
        image = assembly.model.image((pixels - 0.5) / 0.25).double()
    right = (normalize(image, dim=-1) @ normalize(names, dim=-1).T).argmax(1) == part.labels
    assert figures["zero_shot/held-out captions as names"] == pytest.approx(right.double().mean().item())
    assert set(CURVES) <= figures.keys()
    assert all(np.isfinite(value) for value in figures.values())
    assert "sde_alpha" not in judge.watched()  # no step was taken yet
    assert {"image_to_text_recall_at_5", "pair/gap"} <= judge.watched().keys()


def test_without_pairs_only_names_are_measured() -> None:
    assembly = tiny()
    assert Judge(Objective(assembly, make_loss("infonce", False, 5)), assembly.preparation, None, []).measure() == {}


# The objective


def test_the_loss_is_that_of_normalised_pixels() -> None:
    assembly = tiny(siglip=True)
    objective = Objective(assembly, make_loss("siglip", False, 5)).eval()
    pixels = torch.stack([torch.from_numpy(np.asarray(draw(k, 0)).copy()).permute(2, 0, 1) for k in KINDS[:4]])
    ids = assembly.preparation.tokenize(KINDS[:4])
    with torch.no_grad():
        x, y = assembly.model.image((pixels / 255 - 0.5) / 0.25), assembly.model.text(ids)
        expected = make_loss("siglip", False, 5)(x, y, 10.0, logit_bias=-10.0)
        torch.testing.assert_close(objective(pixels, ids)["loss"], expected)


def test_the_temperature_has_a_bound() -> None:
    assembly = tiny()
    assembly.model.logit_scale.data.fill_(9.0)
    pixels, ids = torch.zeros(2, 3, SIZE, SIZE, dtype=torch.uint8), assembly.preparation.tokenize(KINDS[:2])
    Objective(assembly, make_loss("infonce", False, 5))(pixels, ids)
    assert assembly.model.logit_scale.item() == pytest.approx(HIGHEST_SCALE)


def test_decay_spares_what_it_would_harm() -> None:
    objective = Objective(tiny(siglip=True), make_loss("infonce", True, 5))
    spared = objective.undecayed()
    assert {"model.logit_scale", "model.logit_bias", "model.image.norm.weight", "model.image.cls"} <= spared
    assert any(name.endswith("scores") for name in spared)
    assert "model.image.projection.weight" not in spared
    assert spared <= {name for name, _ in objective.named_parameters()}
