"""The bench verb on tiny networks: how runs are taken in turn, what is reported, and what its files hold."""

import csv
import importlib
import statistics
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
import tyro
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from overtone.errors import UserError
from overtone.tasks.bench import BenchConfig, bench, interleaved, peak_memory
from overtone.tasks.bench_models import GROWING, MEASURED, MODELS, Network
from overtone.tasks.bench_result import BenchResult, Growth, Measured, Protocol, aligned, figure, fitted_exponent

task = importlib.import_module("overtone.tasks.bench")  # the package's own `bench` is the function

QUICK = {"batch_size": 8, "warmups": 1, "runs": 2, "image_size": 32}
PROTOCOL = Protocol("cpu", 8, 1, 2, 32)


class Tiny(nn.Module):
    """A convolution over pictures, then their mean."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, width, 3, padding=1)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.convolution(pictures).mean((2, 3))


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Put tiny networks in the place of the real ones, and return what of them was built, at which size."""
    built = []

    def network(name: str, width: int, sized: bool) -> Network:
        def build(image_size: int) -> nn.Module:
            built.append((name, image_size))
            return Tiny(width)

        return Network(build, f"{width} wide" if width == 2 else "", sized)

    networks = {
        "thin": network("thin", 2, False),
        "wide": network("wide", 4, True),
        "other": network("other", 3, False),
    }
    monkeypatch.setattr(task, "MODELS", networks)
    monkeypatch.setattr(task, "GROWING", ("thin", "wide"))
    return built


def result(growth: tuple[Growth, ...] = ()) -> BenchResult:
    """Return a result with round figures."""
    models = (
        Measured("a", 4_000_000, 2_000_000_000, 3 * 2**20, (0.1, 0.3)),
        Measured("b", 8_000_000, 1_000_000_000, None, (0.4, 0.4)),
    )
    return BenchResult(PROTOCOL, "b", models, growth, 1, ("A note.",))


# The networks


@pytest.mark.parametrize("name", MODELS)
def test_every_network_takes_pictures_and_those_without_a_size_any_other(name: str) -> None:
    with torch.device("meta"):
        model = MODELS[name].build(96).eval()
        for side in (96,) if MODELS[name].sized else (96, 160):
            assert model(torch.empty(2, 3, side, side)).logits.shape == (2, 1000)


def test_what_is_measured_exists() -> None:
    assert {*MEASURED, *GROWING, BenchConfig().reference} <= set(MODELS)


# Taking turns


def test_in_each_round_every_subject_runs_once_in_a_new_order() -> None:
    ran: list[str] = []
    names, rounds = "abcd", 20
    subjects = {name: lambda name=name: ran.append(name) for name in names}
    seconds = interleaved(subjects, Protocol("cpu", 1, 3, rounds - 3, 32), "subjects")
    assert len(ran) == rounds * len(names)
    orders = ["".join(ran[start : start + len(names)]) for start in range(0, len(ran), len(names))]
    assert all(sorted(order) == list(names) for order in orders)
    assert len(set(orders)) >= 8  # of 24: a draw that hits fewer in 20 rounds is broken
    assert {name: len(values) for name, values in seconds.items()} == dict.fromkeys(names, rounds - 3)
    assert all(value > 0 for values in seconds.values() for value in values)


# Figures


@given(st.floats(-2, 3), st.floats(1e-3, 1e3), st.lists(st.integers(32, 2048), min_size=2, max_size=8, unique=True))
def test_the_exponent_of_a_power_law(e: float, scale: float, sides: list[int]) -> None:
    points = [(side**2, scale * (side**2) ** e) for side in sides]
    assert fitted_exponent(points) == pytest.approx(e, abs=1e-6)


def test_the_exponent_is_the_slope_of_a_straight_line_through_logarithms() -> None:
    x = np.array([64, 128, 192, 512]) ** 2
    y = x**1.3 * np.array([1.1, 0.9, 1.2, 1.0])
    assert fitted_exponent(list(zip(x, y, strict=True))) == pytest.approx(np.polyfit(np.log(x), np.log(y), 1)[0])


def test_growth_of_latency_at_the_end_and_of_work() -> None:
    row = Growth("a", ((64, 1.0, 10), (128, 1.0, 40), (256, 4.0, 160)))
    assert row.last_exponent == pytest.approx(1)
    assert row.work_exponent == pytest.approx(1)
    assert row.exponent == pytest.approx(0.5)


def test_means_and_ratios() -> None:
    both = result()
    assert both.of("a").mean == pytest.approx(0.2)
    assert both.of("a").deviation == pytest.approx(statistics.stdev([0.1, 0.3]))
    assert Measured("c", 1, 1, 1, (0.5,)).deviation == 0
    assert both.speed_up("a") == pytest.approx(2)
    assert both.speed_up("b") == 1


def test_peak_memory_is_what_is_held_and_the_most_in_passing() -> None:
    class Passing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1024))
            self.register_buffer("table", torch.ones(2048))

        def forward(self, x: Tensor) -> Tensor:
            a = x + 1  # 1
            b = a * 2  # 2
            del a  # 1
            c = torch.cat([b, b])  # 3, the peak, though 4 were allocated in all
            return c.sum()

    unit = 4 * 1024 * 1024
    pictures = torch.zeros(4, 4, 256, 256)
    assert pictures.nbytes == unit
    peak = peak_memory(Passing(), pictures)
    assert peak is not None
    # Sums and numbers take a few bytes more.
    assert peak == pytest.approx(4 * (1024 + 2048) + unit + 3 * unit, abs=4096)


def test_memory_is_unknown_where_the_allocator_does_not_report() -> None:
    assert peak_memory(Tiny(2).to("meta"), torch.empty(1, 3, 32, 32, device="meta")) is None


# The verb


def test_bench(tiny: list[tuple[str, int]]) -> None:
    found = bench(BenchConfig(("thin", "other"), reference="wide", resolutions=(64, 32), **QUICK))
    assert [row.model for row in found.models] == ["thin", "other", "wide"]
    for row, width in zip(found.models, (2, 3, 4), strict=True):
        assert row.parameters == width * (27 + 1)
        assert row.multiply_adds == 32 * 32 * width * 27
        assert len(row.seconds) == 2
        assert row.peak_memory is not None
        assert row.peak_memory > 4 * 8 * 3 * 32 * 32
    assert [[side for side, _, _ in row.points] for row in found.growth] == [[32, 64]] * 2
    assert [[work for _, _, work in row.points] for row in found.growth] == [
        [side * side * width * 27 for side in (32, 64)] for width in (2, 4)
    ]
    assert found.growth_batch == 1
    assert all(row.work_exponent == pytest.approx(1) for row in found.growth)
    sizes = Counter(tiny)
    assert sizes[("thin", 64)] == 0  # its weights are good for both sizes
    assert sizes[("wide", 64)] == 1


def test_measured_twice_when_named_twice_or_the_reference(tiny: list[tuple[str, int]]) -> None:
    found = bench(BenchConfig(("wide", "thin", "wide"), reference="thin", resolutions=(), **QUICK))
    assert [row.model for row in found.models] == ["wide", "thin"]
    assert found.growth == ()


def records(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_files(tiny: list[tuple[str, int]], tmp_path: Path) -> None:
    folder = tmp_path / "new" / "bench"
    found = bench(BenchConfig(("thin",), reference="wide", resolutions=(32, 64), out=str(folder), **QUICK))
    assert sorted(path.name for path in folder.iterdir()) == ["bench.svg", "models.csv", "resolutions.csv"]
    models = records(folder / "models.csv")
    assert [row["model"] for row in models] == ["thin", "wide"]
    assert int(models[0]["multiply_adds"]) == found.of("thin").multiply_adds
    assert float(models[0]["mean_ms"]) == pytest.approx(1e3 * found.of("thin").mean)
    assert float(models[0]["speed_up"]) == pytest.approx(found.speed_up("thin"))
    assert (models[0]["batch_size"], models[0]["warmups"], models[0]["runs"]) == ("8", "1", "2")
    resolutions = records(folder / "resolutions.csv")
    assert [(row["model"], row["image_size"]) for row in resolutions] == [
        (name, side) for name in ("thin", "wide") for side in ("32", "64")
    ]
    assert float(resolutions[-1]["exponent"]) == pytest.approx(found.growth[1].exponent)
    assert ElementTree.parse(folder / "bench.svg").getroot().tag.endswith("svg")


def test_without_resolutions_there_is_no_file_of_them(tiny: list[tuple[str, int]], tmp_path: Path) -> None:
    bench(BenchConfig(("thin",), reference="thin", resolutions=(), out=str(tmp_path), **QUICK))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bench.svg", "models.csv"]


def test_what_fails_leaves_no_folder(
    tiny: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(model: nn.Module, pictures: Tensor) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    monkeypatch.setattr(task, "_forward", full)
    with pytest.raises(UserError, match="thin at 32 x 32 does not fit with batch 8: lower --batch-size"):
        bench(BenchConfig(("thin",), reference="thin", resolutions=(), out=str(tmp_path / "out"), **QUICK))
    assert not (tmp_path / "out").exists()


# In print


def words(lines: str) -> list[str]:
    return [" ".join(line.split()) for line in lines.splitlines()]


def test_the_tables() -> None:
    growth = (Growth("a", ((64, 0.001, 10), (128, 0.004, 40))), Growth("c", ((64, 0.001, 10), (128, 1.6, 80))))
    head, models, resolutions, note = str(result(growth)).split("\n\n")
    assert head == "cpu, float32, 32 x 32 pixels, batch 8, 1 warm-ups, mean of 2 runs, all models in turn in each."
    assert words(models) == [
        "model parameters multiply-adds peak memory ms a batch pictures/s x b",
        "a 4.00 M (0.50) 2.00 G (2.00) 3 MiB 200 ± 141 40.0 2.00",
        "b 8.00 M (1.00) 1.00 G (1.00) - 400 ± 0 20.0 1.00",
    ]
    assert words(resolutions) == [
        "Latency at other resolutions (batch 1, ms), and e of the law latency ~ pixels^e:",
        "model 64 128 e e, 64 to 128 e of multiply-adds",
        "a 1.00 4.00 1.00 1.00 1.00",
        "c 1.00 1,600 5.32 5.32 1.50",
    ]
    assert note == "A note."


def test_columns_line_up() -> None:
    assert aligned([("model", "ms"), ("a", "1"), ("bb", "200")]) == "model   ms\na        1\nbb     200"


def test_the_figure_names_what_it_shows_and_is_the_same_again() -> None:
    growth = (Growth("shfin-small", ((64, 0.001, 10), (128, 0.004, 40))),)
    drawn = figure(result(growth))
    assert drawn == figure(result(growth))
    for text in ("Latency, and speed over b", "2.00 x", "shfin-small: pixels^1.00", "pixels a side"):
        assert text in drawn
    assert "$" not in drawn  # formulas of Matplotlib's, which the house's settings switch off


# Settings


@pytest.mark.parametrize(("device", "protocol"), [("cpu", (16, 2, 10)), ("cuda", (64, 10, 100))])
def test_the_seeds_protocol_shrinks_on_a_cpu_alone(
    monkeypatch: pytest.MonkeyPatch, device: str, protocol: tuple[int, int, int]
) -> None:
    monkeypatch.setattr(task, "_described", str)
    found = task._protocol(BenchConfig(), device)
    assert (found.batch_size, found.warmups, found.runs) == protocol
    said = any("smaller than the seed's protocol" in note for note in task._notes(BenchConfig(), found, device))
    assert said == (device == "cpu")
    own = task._protocol(BenchConfig(batch_size=3, warmups=0, runs=1), device)
    assert (own.batch_size, own.warmups, own.runs) == (3, 0, 1)
    assert any("--batch-size 64 --warmups 10 --runs 100" in note for note in task._notes(BenchConfig(), own, device))


def test_notes_say_what_a_rival_is() -> None:
    notes = task._notes(BenchConfig(("gfnet",)), PROTOCOL, "cpu")
    assert "gfnet: the backbone of shfin-small with GFNet in SHFIN's place." in notes
    assert any(note.startswith("attention: ") for note in notes)
    assert not any(note.startswith("fnet: ") for note in notes)


def test_on_the_command_line() -> None:
    parse: Callable[[list[str]], BenchConfig] = lambda args: tyro.cli(BenchConfig, args=args)  # noqa: E731
    assert parse([]).models == MEASURED
    some = parse(["afno", "gfnet", "--reference", "resnet-50", "--runs", "5", "--resolutions", "64", "128"])
    assert (some.models, some.reference, some.runs, some.resolutions) == (("afno", "gfnet"), "resnet-50", 5, (64, 128))
    assert parse(["--resolutions"]).resolutions == ()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"models": ("resnet50",)}, r"No model 'resnet50'. Did you mean 'resnet-50'\? There are shfin-small, "),
        ({"reference": "vit"}, "No model 'vit'."),
        ({"batch_size": 0}, "--batch-size 0: give a number of 1 or more"),
        ({"warmups": -1}, "--warmups -1: give a number of 0 or more"),
        ({"runs": 0}, "--runs 0: give a number of 1 or more"),
        ({"image_size": 16}, "--image-size 16: give 32 pixels or more"),
        ({"resolutions": (64, 8)}, "--resolutions 8: give 32 pixels or more"),
        ({"resolutions": (64, 64)}, "--resolutions 64: give two or more to compare, or none"),
    ],
)
def test_what_is_out_of_range(settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        BenchConfig(**settings)
