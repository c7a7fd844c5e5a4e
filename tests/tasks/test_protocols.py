"""Protocols in miniature: what each cell learns and is judged on, how it is kept, and how the table is computed."""

import dataclasses
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from overtone.data import ImageSet
from overtone.data.published import find_published
from overtone.errors import UserError
from overtone.farl.methods import METHODS
from overtone.models.backbone import Backbone
from overtone.report import protocol_page
from overtone.report.protocol import Figure
from overtone.tasks import ProtocolConfig, evaluate_protocol
from published_trees import write_set


@dataclasses.dataclass
class KnowsFitted:
    """Gives each picture its true class, but for the first few of every exam: as many as seed and shots say."""

    wrong: int
    open: bool
    settings: Mapping[str, str]

    def encode(self, images: ImageSet) -> list[int]:
        return images.labels

    def probabilities(self, features: list[int], classes: Sequence[str], templates: Sequence[str]) -> torch.Tensor:
        labels = torch.tensor(features)
        labels[: self.wrong] = (labels[: self.wrong] + 1) % len(classes)
        return torch.nn.functional.one_hot(labels, len(classes)).float()


@dataclasses.dataclass
class Knows:
    """A method that writes down what it is given."""

    name: str
    open: bool = True
    fails: Callable[[int], bool] = lambda seed: False
    source: str = "a test"

    def __post_init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def fit(
        self,
        backbone: Backbone,
        train: ImageSet,
        validation: ImageSet | None,
        templates: Sequence[str],
        seed: int,
        device: str,
    ) -> KnowsFitted:
        self.calls.append({"train": train, "validation": validation, "templates": templates, "seed": seed})
        if self.fails(seed):
            raise RuntimeError("it will\nnot")
        shots = len(train) // len(train.classes)
        return KnowsFitted(
            max(0, seed - 1) + (shots == 1), self.open, {"rate": f"{seed} (chosen)", "width": "5 (published)"}
        )


@pytest.fixture
def knows(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Knows]:
    """Return what makes such a method and registers it."""

    def make(name: str = "knows", **options: Any) -> Knows:
        method = Knows(name, **options)
        monkeypatch.setitem(METHODS, name, method)  # type: ignore[arg-type]
        return method

    return make


@pytest.fixture(autouse=True)
def without_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw nothing here: it takes most of the time, and tests of the report and the command do it."""
    monkeypatch.setattr(protocol_page, "charts", lambda report: [])
    monkeypatch.setattr(protocol_page, "plot", lambda report: "")


@pytest.fixture
def run(tmp_path: Path, tiny_model: Path) -> Callable[..., Any]:
    """Return what runs a protocol over published sets of four classes."""

    def evaluate(protocol: str, *data: str, **options: Any) -> Any:
        for name in data:
            published = find_published(name)
            if published and not (tmp_path / "root" / published.folder).exists():
                write_set(tmp_path / "root", name)
        places = {"model": str(tiny_model), "out": str(tmp_path / "out"), "root": str(tmp_path / "root")}
        options = {"methods": ("knows",)} | places | options
        return evaluate_protocol(ProtocolConfig(protocol, data, **options))  # type: ignore[arg-type]

    return evaluate


def figures(result: Any, block: int = 0, row: int = 0) -> list[Figure]:
    return list(result.report.blocks[block].rows[row].figures)


def percent(*right: int, of: int) -> float:
    """The mean of accuracies, counted by hand."""
    return statistics.mean(number / of for number in right)


def test_few_shot(knows: Any, run: Any) -> None:
    method = knows()
    result = run("few-shot", "EuroSAT", "DTD", shots=(1, 2), methods=("zero-shot", "knows"))
    report = result.report
    assert report.columns == ("0", "1", "2")
    assert [block.name for block in report.blocks] == ["EuroSAT", "DTD", "average"]
    dash, one, two = figures(result, row=1)
    assert str(dash) == "-"
    # 12 test pictures; seeds 1, 2, 3 have 0, 1, 2 of them wrong, and one more with a single shot
    assert one.mean == pytest.approx(percent(11, 10, 9, of=12))
    assert two.mean == pytest.approx(percent(12, 11, 10, of=12))
    assert two.spread == pytest.approx(1 / 12)
    assert str(two) == "91.7 ± 8.3"
    zero_shot = figures(result)
    assert zero_shot[0].mean is not None
    assert [str(figure) for figure in zero_shot[1:]] == ["-", "-"]
    sizes = {(len(call["train"]), len(call["validation"])) for call in method.calls}
    assert sizes == {(4, 4), (8, 8)}
    assert {call["templates"] for call in method.calls} == {
        ("a centered satellite photo of {}.",),
        ("{} texture.",),
    }
    assert "knows does best with 91.7 ± 8.3 %" in report.summary


def test_every_method_gets_the_same_pictures(knows: Any, run: Any) -> None:
    one, other = knows("one"), knows("other")
    run("few-shot", "EuroSAT", methods=("one", "other"), shots=(2, 16))
    assert [call["train"] for call in one.calls] == [call["train"] for call in other.calls]
    assert len({call["train"] for call in one.calls}) == 6
    assert {len(call["train"]) for call in one.calls} == {8, 64}  # six pictures a class: sixteen shots repeat some


def test_base_to_new(knows: Any, run: Any) -> None:
    method = knows()
    result = run("base-to-new", "EuroSAT", "DTD")
    base, new, h = figures(result)
    # halves of six pictures each, of which seeds 1, 2, 3 have 0, 1, 2 wrong
    assert base.mean == new.mean == h.mean == pytest.approx(percent(6, 5, 4, of=6))
    assert {call["train"].classes for call in method.calls} == {
        ("Annual Crop Land", "Forest"),
        ("banded", "polka-dotted"),
    }
    assert {(len(call["train"]), len(call["validation"])) for call in method.calls} == {(32, 8)}


def test_a_model_that_knows_only_its_classes_has_a_dash(knows: Any, run: Any) -> None:
    knows(open=False)
    result = run("base-to-new", "EuroSAT")
    assert [str(figure) for figure in figures(result)] == ["83.3 ± 16.7", "-", "-"]
    assert result.report.failures == []


def test_transfer(knows: Any, run: Any) -> None:
    method = knows()
    result = run("cross-dataset", "EuroSAT", "DTD", "UCF101")
    assert result.report.columns == ("EuroSAT", "DTD", "UCF101", "average")
    assert {call["train"].classes[0] for call in method.calls} == {"Annual Crop Land"}
    source, first, second, average = figures(result)
    assert source.mean == first.mean == second.mean == average.mean == pytest.approx(percent(12, 11, 10, of=12))
    assert "over what was not learned" in result.report.summary


def test_domains_of_one_data_set(knows: Any, run: Any) -> None:
    knows()
    result = run("domain-generalization", "emoji:food@noto", shots=(1,), seeds=(1, 2))
    assert result.report.columns == ("fluent", "openmoji", "twemoji", "average")
    fluent = figures(result)[0]
    assert fluent.mean == pytest.approx(percent(45, 44, of=46))  # 46 concepts


def test_imagenet_variants(knows: Any, run: Any) -> None:
    method = knows()
    result = run("domain-generalization", "ImageNet", "ImageNet-A", seeds=(1,))
    assert result.report.columns == ("ImageNet", "ImageNet-A")
    assert method.calls[0]["validation"] is None  # its validation pictures are the tests
    with pytest.raises(
        UserError, match="ImageNet-A has no pictures to learn from: domain-generalization learns the first"
    ):
        run("domain-generalization", "ImageNet-A", "ImageNet", out="")


def test_harmonic_means_are_those_of_means(knows: Any, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """H of a data set is of its mean base and mean new; on average, of the averages: not a mean of H."""
    accuracies = {
        ("EuroSAT", 1): (0.9, 0.3),
        ("EuroSAT", 2): (0.5, 0.7),
        ("DTD", 1): (0.2, 0.8),
        ("DTD", 2): (0.4, 0.4),
    }
    from overtone.tasks import protocol_cells

    def measure(cell: Any, *others: Any) -> Any:
        base, new = accuracies[cell.data, cell.seed]
        return protocol_cells.Outcome({"base": base, "new": new}, {"base": 6, "new": 6}, {}), {}

    knows()
    monkeypatch.setattr(protocol_cells, "measure", measure)
    result = run("base-to-new", "EuroSAT", "DTD", seeds=(1, 2))
    h = [figures(result, block)[2] for block in range(3)]
    assert h[0].mean == pytest.approx(2 * 0.7 * 0.5 / 1.2)
    assert h[1].mean == pytest.approx(2 * 0.3 * 0.6 / 0.9)
    assert h[2].mean == pytest.approx(2 * 0.5 * 0.55 / 1.05)
    of_seeds = [2 * 0.9 * 0.3 / 1.2, 2 * 0.5 * 0.7 / 1.2]
    assert h[0].spread == pytest.approx(statistics.stdev(of_seeds))
    averages = [2 * 0.55 * 0.55 / 1.1, 2 * 0.45 * 0.55 / 1.0]
    assert h[2].spread == pytest.approx(statistics.stdev(averages))


# Cells are kept: what is there is not measured again, and what does not belong together is not mixed.


def test_the_same_command_goes_on(knows: Any, run: Any, tmp_path: Path) -> None:
    method = knows()
    first = run("few-shot", "EuroSAT", shots=(1,))
    again = run("few-shot", "EuroSAT", shots=(1,))
    assert len(method.calls) == 3
    assert first.report == again.report
    run("few-shot", "EuroSAT", "DTD", shots=(1, 2), seeds=(1, 2, 3, 4))
    assert len(method.calls) == 16  # 2 data sets x 2 shots x 4 seeds
    kept = sorted((tmp_path / "out" / "cells").iterdir())
    assert len(kept) == 16
    kept[0].write_text("{")  # half a file is no cell
    run("few-shot", "EuroSAT", "DTD", shots=(1, 2), seeds=(1, 2, 3, 4))
    assert len(method.calls) == 17


def test_more_to_be_judged_on(knows: Any, run: Any) -> None:
    method = knows()
    run("cross-dataset", "EuroSAT", "DTD")
    run("cross-dataset", "EuroSAT", "DTD", "UCF101")
    assert len(method.calls) == 6  # a cell lacked an exam, so it was measured again
    run("cross-dataset", "EuroSAT", "UCF101")
    assert len(method.calls) == 6


def test_cells_that_do_not_belong_together(knows: Any, run: Any, tmp_path: Path) -> None:
    knows()
    run("few-shot", "EuroSAT", shots=(1,))
    with pytest.raises(UserError, match="holds cells of protocol 'few-shot', and these would be of 'base-to-new'"):
        run("base-to-new", "EuroSAT")
    with pytest.raises(UserError, match="holds cells of backbone"):
        run("few-shot", "EuroSAT", shots=(1,), model="embedded")
    write_set(tmp_path / "root", "EuroSAT", {"test": 4})
    with pytest.raises(UserError, match="was measured on other pictures than EuroSAT has now"):
        run("few-shot", "EuroSAT", shots=(1,))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    with pytest.raises(UserError, match="is not empty and holds no cells"):
        run("few-shot", "EuroSAT", out=str(tmp_path / "full"))


def test_a_cell_that_fails(knows: Any, run: Any, tmp_path: Path) -> None:
    method = knows(fails=lambda seed: seed == 2)
    knows("never", fails=lambda seed: True)
    options = {"shots": (2,), "methods": ("knows", "never")}
    result = run("few-shot", "EuroSAT", **options)
    assert [str(figures(result, row=row)[0]) for row in range(2)] == ["91.7 ± 11.8 (1 failed)", "failed"]
    assert dict(result.report.failures)["knows on EuroSAT, 2 shots, seed 2"] == "RuntimeError: it will not"
    assert "4 cells of 6 failed" in result.report.notes[0]
    log = (tmp_path / "out" / "log.txt").read_text()
    assert "Traceback" in log
    assert 'seed 3: {"test": 0.8' in log
    page = (tmp_path / "out" / "report.html").read_text()
    assert "What failed" in page
    method.fails = lambda seed: False
    assert str(figures(run("few-shot", "EuroSAT", **options))[0]) == "91.7 ± 8.3"
    assert len(method.calls) == 4


def test_a_picture_that_cannot_be_read(run: Any, tmp_path: Path) -> None:
    folder = write_set(tmp_path / "root", "EuroSAT")
    broken = folder / "2750" / "River" / "image_0011.jpg"
    broken.write_bytes(b"no picture")
    result = run("few-shot", "EuroSAT", "DTD", methods=("zero-shot",))
    assert [str(block.rows[0].figures[0])[:6] for block in result.report.blocks[::2]] == ["failed", "failed"]
    assert result.report.blocks[1].rows[0].figures[0].mean is not None
    ((_, why),) = result.report.failures
    assert why.startswith(f"{broken}: not a picture")


def test_an_exam_that_fails(knows: Any, run: Any, tmp_path: Path) -> None:
    """A broken picture of one data set costs a transfer the figures of that one alone."""
    broken = write_set(tmp_path / "root", "DTD") / "images" / "woven" / "image_0011.jpg"
    whole = broken.read_bytes()
    broken.write_bytes(b"no picture")
    sets = ("EuroSAT", "DTD", "UCF101")
    result = run("cross-dataset", *sets, methods=("zero-shot",))
    first, second, third, average = map(str, figures(result))
    assert (second, average) == ("failed", "failed")
    assert "failed" not in first + third
    ((what, why),) = result.report.failures
    assert what == "zero-shot on EuroSAT, scored on DTD"
    assert why.startswith(f"{broken}: not a picture")
    broken.write_bytes(whole)
    assert run("cross-dataset", *sets, methods=("zero-shot",)).report.failures == []


def test_a_full_disk_stops_everything(knows: Any, run: Any, tmp_path: Path) -> None:
    method = knows()

    def full(seed: int) -> bool:
        raise OSError(28, "No space left on device")

    method.fails = full
    with pytest.raises(OSError, match="No space left"):
        run("few-shot", "EuroSAT")
    assert not (tmp_path / "out").exists()


def test_stopping_says_how_to_go_on(knows: Any, run: Any, tmp_path: Path) -> None:
    method = knows()

    def stop(seed: int) -> bool:
        if seed == 2:
            raise KeyboardInterrupt
        return False

    method.fails = stop
    with pytest.raises(KeyboardInterrupt, match="the same command goes on"):
        run("few-shot", "EuroSAT", shots=(1,))
    assert len(list((tmp_path / "out" / "cells").iterdir())) == 1


def test_settings_say_where_they_come_from(knows: Any, run: Any) -> None:
    knows()
    report = run("few-shot", "EuroSAT", shots=(1,)).report
    assert [(s.name, s.value) for s in report.settings] == [
        ("rate", "1 (chosen) in 1 cell; 2 (chosen) in 1 cell; 3 (chosen) in 1 cell"),
        ("width", "5 (published)"),
    ]


@pytest.mark.parametrize(
    ("protocol", "data", "options", "says"),
    [
        ("few-shot", (), {}, "name data"),
        ("few-shot", ("DTD",), {"root": "nowhere"}, "--root 'nowhere': there is no such folder"),
        ("few-shot", ("EuroSAT",), {"methods": ()}, "name methods"),
        ("few-shot", ("EuroSAT",), {"methods": ("konws",)}, r"Did you mean 'knows'\?"),
        ("few-shot", ("EuroSat2",), {}, r"No data 'EuroSat2'.* Did you mean 'EuroSAT'\?"),
        ("few-shot", ("EuroSAT",), {"shots": (0,)}, "--shots 0: give numbers of 1 or more"),
        ("few-shot", ("EuroSAT",), {"seeds": (-1,)}, "--seed -1"),
        ("base-to-new", ("EuroSAT",), {"shots": (1, 2)}, "base-to-new takes one number"),
        ("cross-dataset", ("EuroSAT",), {}, "name two or more"),
        ("domain-generalization", ("EuroSAT",), {}, "EuroSAT names no domains"),
        ("few-shot", ("ImageNet-A",), {}, "ImageNet-A has no pictures to learn from: few-shot learns every data set"),
    ],
)
def test_what_cannot_be_measured(
    protocol: str, data: tuple[str, ...], options: dict[str, Any], says: str, knows: Any, run: Any, tmp_path: Path
) -> None:
    knows()
    write_set(tmp_path / "root", "EuroSAT")
    with pytest.raises(UserError, match=says):
        run(protocol, *data, **options)
    assert not (tmp_path / "out").exists()


def test_halves_that_are_too_small(knows: Any, run: Any, tmp_path: Path) -> None:
    knows()
    folder = write_set(tmp_path / "root", "EuroSAT")
    file = folder / "split_zhou_EuroSAT.json"
    split = {part: [row for row in rows if row[1] < 3] for part, rows in json.loads(file.read_text()).items()}
    file.write_text(json.dumps(split))
    with pytest.raises(UserError, match="EuroSAT has 1 new classes with 3 test pictures"):
        run("base-to-new", "EuroSAT")


def test_probabilities_that_are_not_finite(knows: Any, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    knows()
    monkeypatch.setattr(
        KnowsFitted, "probabilities", lambda self, features, *_: torch.full((len(features), 4), torch.nan)
    )
    result = run("few-shot", "EuroSAT", shots=(1,), seeds=(1,))
    assert "the adaptation diverged" in result.report.failures[0][1]


def test_own_pictures(photos: Path, knows: Any, run: Any) -> None:
    knows()
    result = run("few-shot", str(photos), shots=(2,), seeds=(1,))
    assert figures(result)[0].mean == 1
    assert any("20 % of each class" in note for note in result.report.notes)
