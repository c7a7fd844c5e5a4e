"""Learning a signal: mini-batches, a rate that falls at the end, and an end that comes once more steps are in vain."""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from overtone.models.coordinate import ROWS, CoordinateNetwork, on_device
from overtone.tasks.fit_kernel import Decay
from overtone.tasks.fit_samples import Samples, psnr

# Of 256 x 256 pixels (camera), these learn 32.6 dB in 12 CPU-seconds, where full batches at 1e-3 have come to 22 dB.
BATCH = 1024
RATE = 2e-3  # Adam's
COOLING = 0.25  # of all steps, in which the rate falls to 0: what Adam's noise hides comes out
LEAST_GAIN = 0.05  # dB that the steps at full rate must still promise
PATIENCE = 200  # steps before which the pace of learning says nothing of what is to come
LOOKS = 20  # at the error, evenly spread, beside those at 1, 2, 4, ... steps
LOOKED_AT = 8192  # samples, at most
KEPT = 2**28  # bytes of encoded positions that are made once and kept

Watch = Callable[[int, float], None]  # is told the step, and the PSNR on its batch


@dataclass(frozen=True)
class Look:
    """The PSNR in dB after a step, on the samples learned from and on those held out; `time` counts full-rate steps."""

    step: int
    time: float
    train: float
    held: float | None


@dataclass
class Learned:
    """How learning went."""

    looks: list[Look] = field(default_factory=list)
    steps: int = 0
    stopped: bool = False  # early, as more steps promised nothing
    interrupted: bool = False


def learn(
    network: CoordinateNetwork, samples: Samples, steps: int, seed: int, decay: Decay | None, watch: Watch
) -> Learned:
    """Train `network` on the samples in at most `steps` steps, and return how the error fell.

    With `decay`, what the kernel expects of the steps left is weighed against LEAST_GAIN: where it is less, the rate
    begins to fall at once. An interruption ends the training, and the network keeps what it has learned.
    """
    # No transformers Trainer here: its own work, 1.1 ms a step, is 6 % of a step of 1024 samples, 12 % of one of 512
    # and more than half of a small signal's; and its schedules are fixed before what the kernel expects is known.
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    batches, look = _batches(network, samples, seed), _looking(network, samples, seed)
    learned, end, time = Learned(), steps, 0.0
    looks_at = {2**k for k in range(20)} | {round(steps * k / LOOKS) for k in range(1, LOOKS + 1)}
    with contextlib.suppress(KeyboardInterrupt):
        learned.interrupted = True
        while learned.steps < end:
            share = min(1.0, (end - learned.steps) / max(1.0, COOLING * end))
            optimizer.param_groups[0]["lr"] = share * RATE
            loss = _step(network, optimizer, *next(batches))
            learned.steps, time = learned.steps + 1, time + share
            watch(learned.steps, psnr(loss))
            if learned.steps in looks_at or learned.steps == end:
                learned.looks.append(look(learned.steps, time))
                left = (1 - COOLING) * steps - learned.steps
                if decay and not learned.stopped and left > 0 and learned.steps >= PATIENCE:
                    learned.stopped = expected_gain(decay, learned.looks, left) < LEAST_GAIN
                    end = round(learned.steps / (1 - COOLING)) if learned.stopped else end
        learned.interrupted = False
    return learned


def expected_gain(decay: Decay, looks: list[Look], steps: float) -> float:
    """Return the gain in dB that the kernel expects of more steps at full rate.

    Its time went by at some pace since half as many steps as now, and is taken to go on so. Before the network is
    better than the signal's mean, there is no telling; where there is nothing but the mean, nothing is expected.
    """
    now = looks[-1]
    then = next(look for look in looks if look.time >= now.time / 2)
    if 0 < decay.error(0.0) <= 10 ** (-now.train / 10):
        return math.inf
    here, there = (decay.time(10 ** (-look.train / 10)) for look in (now, then))
    pace = max(0.0, here - there) / max(1.0, now.time - then.time)
    return psnr(decay.error(here + pace * steps).item()) - psnr(decay.error(here).item())


@torch.no_grad()
def error(network: CoordinateNetwork, samples: Samples, index: Tensor, targets: Tensor | None = None) -> float:
    """Return the mean square error on the samples with these numbers, or against other targets."""
    total = 0.0
    for start in range(0, len(index), ROWS):
        part = index[start : start + ROWS]
        expected = samples.targets(part) if targets is None else targets[start : start + ROWS]
        total += (_outputs(network, samples, part).cpu() - expected).square().sum(dtype=torch.float64).item()
    return total / (len(index) * samples.signal.channels)


def _step(network: CoordinateNetwork, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> float:
    optimizer.zero_grad()
    loss = mse_loss(network.layers(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def _batches(network: CoordinateNetwork, samples: Samples, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches of encoded positions and targets without end, all samples once before any comes again."""
    generator = torch.Generator().manual_seed(seed)
    train, device = samples.train, network.device
    width = _encoded(network, samples, train[:1]).shape[1] + samples.signal.channels
    kept = None
    if 4 * len(train) * width <= KEPT:
        x = torch.cat([_encoded(network, samples, part) for part in train.split(ROWS)])
        kept = x, samples.targets(train).to(device)
    if kept and len(train) <= BATCH:
        while True:
            yield kept
    while True:
        for part in torch.randperm(len(train), generator=generator)[: len(train) // BATCH * BATCH].split(BATCH):
            if kept:
                yield kept[0][part.to(device)], kept[1][part.to(device)]
            else:
                yield _encoded(network, samples, train[part]), samples.targets(train[part]).to(device)


def _looking(network: CoordinateNetwork, samples: Samples, seed: int) -> Callable[[int, float], Look]:
    """Return what takes a look: always at the same samples, so that what changes is the network."""
    generator = torch.Generator().manual_seed(seed)
    parts = [part[torch.randperm(len(part), generator=generator)[:LOOKED_AT]] for part in (samples.train, samples.held)]

    def look(step: int, time: float) -> Look:
        train, held = (psnr(error(network, samples, part)) if len(part) else None for part in parts)
        assert train is not None
        return Look(step, time, train, held)

    return look


def _outputs(network: CoordinateNetwork, samples: Samples, index: Tensor) -> Tensor:
    return network.layers(_encoded(network, samples, index))


@torch.no_grad()
def _encoded(network: CoordinateNetwork, samples: Samples, index: Tensor) -> Tensor:
    """Return what the first layer sees of these samples."""
    return network.features(on_device(samples.positions(index), network.device))
