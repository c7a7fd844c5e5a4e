"""`overtone bench`: size, work, memory and latency of SHFIN and its rivals, measured in one run."""

import contextlib
import itertools
import random
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

from tyro.conf import Positional, arg

from overtone.errors import UserError, did_you_mean
from overtone.progress import shown
from overtone.tasks.bench_models import GROWING, MEASURED, MODELS
from overtone.tasks.bench_result import BenchResult, Growth, Measured, Protocol, write_result
from overtone.tasks.folders import writable
from overtone.tasks.options import require_at_least

if TYPE_CHECKING:
    from torch import Tensor, nn

SEED_PROTOCOL = (64, 10, 100)  # batch, warm-ups, runs: SHFIN, arXiv 1801.01451v3
CPU_PROTOCOL = (16, 2, 10)
GROWTH_SHARE = 8  # the batch at other resolutions is that much smaller: 512 x 512 has five times the pixels
LEAST_SIDE = 32  # pixels: the networks halve a picture five times
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class BenchConfig:
    """Measure SHFIN beside other image classifiers: parameters, multiply-adds, peak memory and latency, in one run."""

    models: Positional[tuple[str, ...]] = MEASURED
    """What to measure; also: attention, conv (the backbone of shfin-small with these mixers)."""
    reference: str = "vit-small-16"
    """Measured too, and what the others are compared with."""
    out: Annotated[str, arg(aliases=["-o"])] = ""
    """Write models.csv, resolutions.csv and bench.svg into this folder."""
    batch_size: Annotated[int | None, arg(metavar="INT")] = None
    """Pictures a batch; 64, on the CPU 16, when not given."""
    warmups: Annotated[int | None, arg(metavar="INT")] = None
    """Runs before those that count; 10, on the CPU 2, when not given."""
    runs: Annotated[int | None, arg(metavar="INT")] = None
    """Runs that count; 100, on the CPU 10, when not given."""
    image_size: int = 224
    """Pixels a side."""
    resolutions: tuple[int, ...] = (64, 96, 128, 192, 256, 384, 512)
    """Pixels a side for latency against resolution, of SHFIN and of attention; leave it out with none."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""

    def __post_init__(self) -> None:
        """Raise UserError for an unknown model or a number out of range."""
        for model in (*self.models, self.reference):
            if model not in MODELS:
                raise UserError(f"No model {model!r}.{did_you_mean(model, MODELS)} There are {', '.join(MODELS)}.")
        require_at_least(self, batch_size=1, warmups=0, runs=1)
        for name, sides in (("image-size", (self.image_size,)), ("resolutions", self.resolutions)):
            if sides and min(sides) < LEAST_SIDE:
                raise UserError(f"--{name} {min(sides)}: give {LEAST_SIDE} pixels or more.")
        if len(set(self.resolutions)) == 1:
            raise UserError(f"--resolutions {self.resolutions[0]}: give two or more to compare, or none.")


def bench(config: BenchConfig) -> BenchResult:
    """Measure the models of `config` in turn, so that whatever drifts on the machine hits all of them.

    Raises UserError for what the user can mend.
    """
    from overtone.training import pick_device

    device = pick_device(config.device)
    protocol = _protocol(config, device)
    with writable(Path(config.out)) if config.out else contextlib.nullcontext():
        models = _measure(list(dict.fromkeys((*config.models, config.reference))), protocol, device)
        batch = max(1, protocol.batch_size // GROWTH_SHARE)
        growth = _grow(sorted(set(config.resolutions)), batch, protocol, device) if config.resolutions else ()
        result = BenchResult(protocol, config.reference, models, growth, batch, _notes(config, protocol, device))
        if config.out:
            write_result(result, Path(config.out))
    return result


def _protocol(config: BenchConfig, device: str) -> Protocol:
    """Return the seed's protocol, or a smaller one on a CPU, with what the user set."""
    usual = CPU_PROTOCOL if device == "cpu" else SEED_PROTOCOL
    given = (config.batch_size, config.warmups, config.runs)
    batch, warmups, runs = (own if value is None else value for value, own in zip(given, usual, strict=True))
    return Protocol(_described(device), batch, warmups, runs, config.image_size)


def _notes(config: BenchConfig, protocol: Protocol, device: str) -> tuple[str, ...]:
    batch, warmups, runs = SEED_PROTOCOL
    named = dict.fromkeys((*config.models, config.reference, *(GROWING if config.resolutions else ())))
    notes = [f"{name}: {about}." for name in named if (about := MODELS[name].about)]
    if (protocol.batch_size, protocol.warmups, protocol.runs) != SEED_PROTOCOL:
        smaller = "On a CPU the defaults are smaller than" if device == "cpu" else "This is not"
        notes.append(f"{smaller} the seed's protocol: --batch-size {batch} --warmups {warmups} --runs {runs}.")
    if config.resolutions:
        notes.append("SHFIN pads its maps to whole patches: small pictures cost more than their share, which lowers e.")
    return (*notes, "Weights are random: this says nothing about accuracy.")


def _measure(names: list[str], protocol: Protocol, device: str) -> tuple[Measured, ...]:
    from overtone.counting import multiply_adds

    models = {name: _built(name, protocol.image_size, device) for name in names}
    pictures = _pictures(protocol.batch_size, protocol.image_size, device)
    seconds = interleaved({name: _run(name, model, pictures) for name, model in models.items()}, protocol, "models")
    return tuple(
        Measured(
            name,
            (counted := multiply_adds(model, pictures[:1])).parameters,
            counted.multiply_adds,
            peak_memory(model, pictures),
            tuple(seconds[name]),
        )
        for name, model in models.items()
    )


def _grow(sides: list[int], batch: int, protocol: Protocol, device: str) -> tuple[Growth, ...]:
    from overtone.counting import multiply_adds

    runs, work = {}, {}
    for name in GROWING:
        for side in sides:
            if side == sides[0] or MODELS[name].sized:
                model = _built(name, side, device)
            pictures = _pictures(batch, side, device)
            runs[name, side] = _run(name, model, pictures)
            work[name, side] = multiply_adds(model, pictures[:1]).multiply_adds
    seconds = interleaved(runs, protocol, "resolutions")
    means = {key: sum(values) / len(values) for key, values in seconds.items()}
    return tuple(Growth(name, tuple((s, means[name, s], work[name, s]) for s in sides)) for name in GROWING)


def interleaved(subjects: Mapping[Key, Callable[[], object]], protocol: Protocol, what: str) -> dict[Key, list[float]]:
    """Return seconds of each counted run: in each round every subject runs once, in an order drawn anew.

    So no subject always runs behind the same other, whose traces in caches and clock rates it would inherit.
    """
    order, draw = list(subjects), random.Random(0)
    seconds: dict[Key, list[float]] = {key: [] for key in subjects}
    for _ in shown(range(protocol.warmups + protocol.runs), what):
        draw.shuffle(order)
        for key in order:
            seconds[key].append(_timed(subjects[key]))
    return {key: values[protocol.warmups :] for key, values in seconds.items()}


def peak_memory(model: "nn.Module", pictures: "Tensor") -> int | None:
    """Return bytes for weights, the batch, and the most that one forward pass has allocated at a time.

    As torch's allocators report it: what libraries take for themselves is not in it. None where they do not report.
    """
    held = [*model.parameters(), *model.buffers(), pictures]
    passing = {"cpu": peak_on_cpu, "cuda": peak_on_cuda}.get(pictures.device.type)
    return None if passing is None else sum(t.nbytes for t in held) + passing(lambda: _forward(model, pictures))


def peak_on_cpu(run: Callable[[], object]) -> int:
    """Return the most bytes that `run` has allocated at a time on the CPU."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run()
    events = (e for e in profiled.profiler.kineto_results.events() if e.name() == "[memory]")  # type: ignore[union-attr]
    changes = sorted((event.start_ns(), event.nbytes()) for event in events)
    return max(itertools.accumulate((size for _, size in changes), initial=0))


def peak_on_cuda(run: Callable[[], object]) -> int:
    """Return the most bytes that `run` has allocated at a time on the GPU."""
    import torch

    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    return torch.cuda.max_memory_allocated() - before


def _built(name: str, image_size: int, device: str) -> "nn.Module":
    """Return a model with random weights that are the same in every run, ready to evaluate."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MODELS[name].build(image_size).eval().to(device)


def _pictures(batch: int, side: int, device: str) -> "Tensor":
    import torch

    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(0)).to(device)


def _run(name: str, model: "nn.Module", pictures: "Tensor") -> Callable[[], object]:
    """Return a forward pass as a function of nothing; one that does not fit in memory is the user's to make smaller."""

    def run() -> object:
        try:
            return _forward(model, pictures)
        except RuntimeError as error:
            if not any(sign in str(error).lower() for sign in ("out of memory", "can't allocate memory")):
                raise
            batch, _, _, side = pictures.shape
            raise UserError(
                f"{name} at {side} x {side} does not fit with batch {batch}: lower --batch-size."
            ) from error

    return run


def _forward(model: "nn.Module", pictures: "Tensor") -> object:
    import torch

    with torch.inference_mode():
        return model(pictures)


def _timed(run: Callable[[], object]) -> float:
    _wait()
    start = time.perf_counter()
    run()
    _wait()
    return time.perf_counter() - start


def _wait() -> None:
    """Wait for what an accelerator still computes."""
    import torch

    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def _described(device: str) -> str:
    import torch

    what = torch.cuda.get_device_name() if device.startswith("cuda") else f"{device}, {torch.get_num_threads()} threads"
    return f"{what}, torch {torch.__version__}"
