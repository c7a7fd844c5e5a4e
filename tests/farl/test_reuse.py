"""Frozen states that the next run finds: whole or not at all, bounded, and safe with two runs at once."""

import json
import multiprocessing
import os
import time
from pathlib import Path

import pytest
import torch
from farl_samples import clip_backbone, coloured_set, fit, hand_backbone, pictures, same, weights
from safetensors.torch import load_file, save_file

import overtone.farl.cache as cache_module
import overtone.farl.reuse as module
import overtone.farl.states as states_module
from overtone.farl import StateCache, Views
from overtone.farl.cache import NoRoomError
from overtone.farl.reuse import Draft, begin, find, folder, make_room

SHAPES = {"tokens": ((5, 3, 2), torch.float32), "frozen": ((5, 4), torch.bfloat16)}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OVERTONE_CACHE", str(tmp_path))
    return tmp_path / "states"


def kept(key: str, value: float = 1.0) -> None:
    """Keep a file under a key."""
    draft, _ = begin(key, SHAPES)
    assert draft is not None
    for tensor in draft.tensors.values():
        tensor.fill_(value)
    draft.publish()
    assert draft.wait() is None


def full(*_: object) -> None:
    """Stand for what meets a full disk."""
    raise OSError(28, "No space left on device")


def cache(seed: int = 0, count: int = 2, streams: bool = True) -> StateCache:
    one = StateCache(hand_backbone(), Views(pictures(4), seed), count, streams, "cpu")
    one.close()
    return one


def test_a_draft_is_a_safetensors_file_once_it_has_its_name(home: Path) -> None:
    draft, note = begin("key", SHAPES)
    assert draft is not None
    assert note is None
    generator = torch.Generator().manual_seed(0)
    for tensor in draft.tensors.values():
        tensor.copy_(torch.randn(tensor.shape, generator=generator))
    assert find("key") is None  # not before it is whole
    draft.publish()
    draft.wait()
    assert [path.name for path in home.iterdir()] == ["key.safetensors"]
    for read in (load_file(home / "key.safetensors"), find("key")):
        assert read is not None
        assert {name: (tuple(t.shape), t.dtype) for name, t in read.items()} == SHAPES
        assert all(torch.equal(read[name], draft.tensors[name]) for name in SHAPES)


def test_the_next_run_finds_the_states_and_computes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    first = cache()
    with monkeypatch.context() as patch:
        patch.setattr(cache_module, "view_states", lambda *_: pytest.fail("computed again"))
        again = cache()
    assert all(
        torch.equal(a, b) for a, b in zip(first.states.tensors.values(), again.states.tensors.values(), strict=True)
    )
    assert again.states.tensors.keys() == {"tokens", "frozen", "phase", "amplitude"}


def test_all_that_states_follow_from_is_in_their_name(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache()
    for changes in ({"seed": 1}, {"count": 1}, {"streams": False}):
        cache(**changes)  # type: ignore[arg-type]
    others = [
        StateCache(hand_backbone(seed=1), Views(pictures(4), 0), 2, True, "cpu"),  # other weights
        StateCache(hand_backbone(), Views(pictures(4), 0, amplitude=True), 2, True, "cpu"),
        StateCache(hand_backbone(), Views(pictures(4).flip(0), 0), 2, True, "cpu"),  # the same pictures, other views
        StateCache(hand_backbone(), Views(pictures(3), 0), 2, True, "cpu"),
        StateCache(clip_backbone(), Views(pictures(4), 0), 2, True, "cpu"),
    ]
    monkeypatch.setattr(cache_module, "CROP", (0.4, 1.0))
    others.append(StateCache(hand_backbone(), Views(pictures(4), 0), 2, True, "cpu"))
    for one in others:
        one.close()
    assert len(list(home.iterdir())) == 1 + 3 + 6


@pytest.mark.parametrize("injection", ["by_modality", "plain"])
def test_a_fit_on_states_found_ends_with_the_same_weights(injection: str, home: Path) -> None:
    first = fit(injection=injection, train_set=coloured_set())
    assert len(list(home.iterdir())) == 1
    again = fit(injection=injection, train_set=coloured_set())
    assert len(list(home.iterdir())) == 1
    assert same(weights(first), weights(again))
    assert first.notes == again.notes == []


@pytest.mark.parametrize("fault", ["cut", "no header", "empty"])
def test_a_damaged_file_is_made_again(fault: str, home: Path) -> None:
    whole = cache()
    [path] = home.iterdir()
    data = path.read_bytes()
    path.unlink()  # the pages of `whole` stay as they are
    path.write_bytes({"cut": data[:-100], "no header": b"\0" * len(data), "empty": b""}[fault])
    again = cache()
    assert torch.equal(again.states.tokens, whole.states.tokens)
    assert path.read_bytes() == data


def test_what_was_used_longest_ago_goes_first(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept("a")
    size = (home / "a.safetensors").stat().st_size
    monkeypatch.setattr(module, "MOST", 3 * size)
    kept("b")
    kept("c")
    for age, key in enumerate("cba"):
        os.utime(home / f"{key}.safetensors", (time.time() - 100 + 10 * age,) * 2)  # c is the oldest, a the newest
    assert find("c") is not None  # used now
    kept("d")
    assert {path.stem for path in home.iterdir()} == {"a", "c", "d"}
    assert sum(path.stat().st_size for path in home.iterdir()) <= module.MOST


def test_what_runs_that_are_gone_left_behind_goes_and_what_is_being_written_stays(home: Path) -> None:
    home.mkdir()
    gone, now = home / ".overtone-1.tmp", home / ".overtone-2.tmp"
    gone.write_bytes(b"x")
    now.write_bytes(b"x")
    os.utime(gone, (time.time() - 2 * module.STALE,) * 2)
    make_room(home, 10)
    assert [path.name for path in home.iterdir()] == [now.name]


def test_more_than_the_folder_may_hold_is_not_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 1000)
    one = cache()
    assert one.note is not None
    assert "more than the 0 GiB that are kept" in one.note
    assert not home.exists()
    assert fit().notes == [one.note.replace("0.0 GiB", "0.0 GiB")]


def test_on_a_full_disk_nothing_is_kept_and_the_run_goes_on(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = fit(train_set=coloured_set(), cached=False)

    monkeypatch.setattr("os.posix_fallocate", full)
    fitted = fit(train_set=coloured_set())
    [note] = fitted.notes
    assert note.startswith("The frozen states could not be kept for the next run (No space left on device)")
    assert list(home.iterdir()) == []
    assert same(weights(fitted), weights(expected))


def test_states_that_fit_nowhere_are_computed_at_every_step(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = fit(train_set=coloured_set(), cached=False)

    monkeypatch.setenv("OVERTONE_CACHE", "")
    monkeypatch.setattr(cache_module, "MEMORY", 0)
    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(NoRoomError, match="No space left on device"):
        cache()
    fitted = fit(train_set=coloured_set())
    [note] = fitted.notes
    assert "no room for them (No space left on device): they are computed anew at every step" in note
    assert same(weights(fitted), weights(expected))


def test_a_disk_that_fills_while_the_file_is_made_safe(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", full)
    one = cache()
    assert one.note is not None
    assert list(home.iterdir()) == []
    assert one.batch([0], [1]).tokens.isfinite().all()  # its pages are still there


def test_a_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OVERTONE_CACHE", str(tmp_path / "file"))
    one = cache()
    assert one.note is not None
    assert "could not be kept" in one.note


def test_an_interrupted_run_leaves_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states_module, "BATCH", 3)
    batches = iter(range(2))
    real = states_module.image_states

    def stop(*arguments: object, **named: object) -> object:
        if next(batches, None) is None:
            raise KeyboardInterrupt
        return real(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(states_module, "image_states", stop)
    with pytest.raises(KeyboardInterrupt):
        cache()
    assert list(home.iterdir()) == []


def test_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVERTONE_CACHE", "")
    assert folder() is None
    assert begin("key", SHAPES) == (None, None)
    monkeypatch.delenv("OVERTONE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert folder() == tmp_path / "overtone" / "states"


def write_and_read(home: str, number: int, done: "multiprocessing.Queue[bool]") -> None:
    """Keep a file under the one key that all processes use, and read it, again and again."""
    os.environ["OVERTONE_CACHE"] = home
    good = True
    for _ in range(20):
        kept("key", number)
        found = find("key")
        if found is not None:
            values = {value for tensor in found.values() for value in tensor.flatten().tolist()}
            good = good and len(values) == 1  # one process's file, never a mixture of two
    done.put(good)


def test_two_runs_at_once(home: Path) -> None:
    context = multiprocessing.get_context("fork")
    done = context.Queue()
    both = [context.Process(target=write_and_read, args=(str(home.parent), number, done)) for number in (1, 2)]
    for one in both:
        one.start()
    assert [done.get(timeout=60) for _ in both] == [True, True]
    for one in both:
        one.join()
    assert [path.name for path in home.iterdir()] == ["key.safetensors"]


def test_a_file_in_use_may_be_removed(home: Path) -> None:
    kept("key", 3.0)
    found = find("key")
    (home / "key.safetensors").unlink()
    assert found is not None
    assert (found["tokens"] == 3).all()


def test_a_header_reads_as_the_library_writes_it(tmp_path: Path) -> None:
    draft = Draft(tmp_path / "one.safetensors", SHAPES)
    tensors = {name: torch.zeros(shape, dtype=dtype) for name, (shape, dtype) in SHAPES.items()}
    save_file(tensors, tmp_path / "other.safetensors")

    def header(path: Path) -> dict[str, object]:
        data = path.read_bytes()
        said = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return {name: (entry["dtype"], entry["shape"]) for name, entry in said.items()}

    assert header(draft.beside) == header(tmp_path / "other.safetensors")
    draft.discard()
