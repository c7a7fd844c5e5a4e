"""`overtone fit`: a signal becomes a small network that can be asked at any resolution."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from overtone.errors import UserError
from overtone.tasks.options import require_at_least, require_seed
from overtone.tasks.runs import in_one_go

if TYPE_CHECKING:
    from overtone.models.coordinate import CoordinateNetwork, EncodingName
    from overtone.ntk import Bandwidth
    from overtone.report.fit import FitReport
    from overtone.tasks.fit_kernel import Decay
    from overtone.tasks.fit_samples import Samples
    from overtone.tasks.fit_training import Learned, Watch

STEPS = 2000
COMPARED_STEPS = 500  # of each encoding
HIGHEST = 0.25  # cycles a sample, of positional frequencies: half of the Nyquist limit, about the published choice


@dataclass(frozen=True)
class FitConfig:
    """Fit a small network to a picture, a sound, an array or scattered points, and render it at any resolution."""

    signal: Positional[str]
    """A picture, a WAV file, an .npy array (a grid), or points: .npz (positions, values), .csv (x, y, ..., values)."""
    out: Annotated[str, arg(aliases=["-o"])] = ""
    """The run folder; runs/<signal>, numbered, when not given."""
    encoding: Literal["gaussian", "positional", "basic", "none", "compare"] = "gaussian"
    """How the network sees positions; compare trains all four on every second sample and tests on those between."""
    bandwidth: Literal["loo", "default", "fresh", "gcv"] = "loo"
    """How the deviation of gaussian frequencies is chosen (ot.ntk.select_bandwidth)."""
    candidates: Annotated[tuple[float, ...] | None, arg(metavar="FLOAT ...")] = None
    """The deviations to choose from, in cycles over the signal's extent; one alone is taken."""
    scale: float = 1.0
    """Render the network at so many times the samples along each axis."""
    mask: str = ""
    """A picture as large as the signal; its light half is hidden from the network, which fills it in."""
    dims: Annotated[int | None, arg(metavar="INT")] = None
    """How many axes of an .npy array are its grid's; a last axis of 4 or less is channels when not given."""
    steps: Annotated[int | None, arg(metavar="INT")] = None
    """Steps at most; 2000, and 500 of each encoding to compare, when not given."""
    width: int = 256
    """Of the three hidden layers; half as many frequencies go before them."""
    seed: int = 0
    """Every random draw follows from it."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""

    def __post_init__(self) -> None:
        """Raise UserError for a number out of range."""
        require_at_least(self, steps=1, width=2, dims=1)
        require_seed(self.seed)
        if not 0 < self.scale < math.inf:
            raise UserError(f"--scale {self.scale:g}: give a number above 0.")
        if self.candidates is not None and not self.candidates:
            raise UserError("--candidates names none: give one or more deviations, in cycles over the signal's extent.")
        for candidate in self.candidates or ():
            if not 0 < candidate < math.inf:
                raise UserError(f"--candidates {candidate:g}: give numbers above 0.")


@dataclass(frozen=True)
class FitResult:
    """A finished fit: its folder, the network (of a comparison, none), and the report that was written."""

    folder: Path
    network: "CoordinateNetwork | None"
    report: "FitReport"


@dataclass(frozen=True)
class Fitted:
    """A network that has learned, and how that went."""

    network: "CoordinateNetwork"
    samples: "Samples"
    bandwidth: "Bandwidth | None"
    decay: "Decay | None"
    learned: "Learned"
    seconds: float  # of the processor


def fit(config: FitConfig) -> FitResult:
    """Run the whole job: read, choose the bandwidth, learn, render, judge, write.

    Raises UserError for what the user can mend, and KeyboardInterrupt for an interruption; of a fit that had begun to
    learn, what it learned is written first.
    """
    from overtone.data.signals import read_signal
    from overtone.tasks.fit_files import rendered_sizes, write_comparison, write_fit
    from overtone.tasks.fit_reporting import report_comparison, report_fit
    from overtone.tasks.fit_samples import in_halves, to_fit
    from overtone.training import pick_device

    config = dataclasses.replace(config, device=pick_device(config.device))
    signal = read_signal(config.signal, config.dims, config.mask)
    sizes = rendered_sizes(signal, config.scale)
    with in_one_go(config, config.signal, {"signal": str(Path(config.signal).resolve())}) as folder:
        if config.encoding == "compare":
            report = report_comparison(config, compare(config, in_halves(signal, config.seed)))
            write_comparison(report, folder)
            return FitResult(folder, None, report)
        done = fit_one(config, to_fit(signal, config.seed), config.encoding)
        rendered = done.network.render(*sizes).numpy()
        report = report_fit(config, done, rendered)
        write_fit(report, signal, done.network, rendered, config.scale, folder)
    if done.learned.interrupted:
        raise KeyboardInterrupt(f"What was learned in {done.learned.steps:,} steps is in {str(folder)!r}")
    return FitResult(folder, done.network, report)


def compare(config: FitConfig, samples: "Samples") -> "dict[EncodingName, Fitted]":
    """Fit a network with each encoding to the same samples; an interruption is one of the whole.

    Raises UserError where one half has no samples.
    """
    from overtone.models.coordinate import ENCODINGS

    if min(len(samples.train), len(samples.held)) < 2:
        raise UserError(f"{config.signal!r} has too few samples to learn from one half of them and test on the other.")
    config = dataclasses.replace(config, steps=config.steps or COMPARED_STEPS)
    done = {}
    for encoding in ENCODINGS:
        done[encoding] = fit_one(config, samples, encoding)
        if done[encoding].learned.interrupted:
            raise KeyboardInterrupt
    return done


def fit_one(config: FitConfig, samples: "Samples", encoding: "EncodingName") -> Fitted:
    """Fit one network to the samples."""
    import torch

    from overtone.models.coordinate import CoordinateConfig, CoordinateNetwork
    from overtone.tasks.fit_kernel import choose_bandwidth, decay
    from overtone.tasks.fit_training import learn

    started = time.process_time()
    bandwidth = choose_bandwidth(samples, config.bandwidth, config.candidates) if encoding == "gaussian" else None
    settings = CoordinateConfig(
        dims=samples.signal.dims,
        channels=samples.signal.channels,
        encoding=encoding,
        features=config.width // 2,
        bandwidth=bandwidth.std if bandwidth else max(1.0, HIGHEST * samples.rate),
        width=config.width,
        squash=samples.signal.kind == "picture",
        low=samples.signal.low,
        high=samples.signal.high,
        origin=samples.signal.origin,
        extent=samples.signal.extent,
        seed=config.seed,
    )
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        network = CoordinateNetwork(settings).to(config.device)  # type: ignore[arg-type]
    expected = decay(samples, bandwidth.std, settings.depth) if bandwidth else None
    steps = config.steps or STEPS
    with _shown(encoding, steps) as watch:
        learned = learn(network, samples, steps, config.seed, expected, watch)
    if not learned.looks:  # interrupted at once: nothing is worth keeping
        raise KeyboardInterrupt
    return Fitted(network, samples, bandwidth, expected, learned, time.process_time() - started)


@contextlib.contextmanager
def _shown(encoding: str, steps: int) -> "Iterator[Watch]":
    """Yield what shows step and PSNR on stderr, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[psnr]}"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(f"fitting ({encoding})", total=steps, psnr="")
        yield lambda step, psnr: progress.update(bar, completed=step, psnr=f"PSNR {psnr:.1f} dB")
