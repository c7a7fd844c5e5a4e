"""Make the records of a fit's report: what was given, what the network holds of it, and how it learned."""

from collections.abc import Mapping

import numpy as np
import torch
import transformers

from overtone import __version__
from overtone.data.names import count
from overtone.data.signals import Signal
from overtone.models.coordinate import CoordinateNetwork, EncodingName
from overtone.ntk import BANDWIDTH_METHODS
from overtone.report import Choice
from overtone.report.fit import BandwidthCurve, EncodingRow, FitReport, Learning
from overtone.tasks.fit import FitConfig, Fitted
from overtone.tasks.fit_files import rendered_sizes
from overtone.tasks.fit_samples import Samples, psnr
from overtone.tasks.fit_training import BATCH, COOLING, LEAST_GAIN, RATE, error
from overtone.tasks.fit_views import detail, spectra, traces, views

MATCHED = 0.25  # of the steps, on which the kernel's clock is set
SINGLY = (
    "Held-out samples are drawn singly and have known ones around them: how well a larger hole is filled is not what "
    "their PSNR says."
)
COVERED = "The PSNR under the mask compares with what the file holds there, which may be what you wanted to be rid of."


def report_fit(config: FitConfig, done: Fitted, rendered: np.ndarray) -> FitReport:
    """Judge a fit and say how it was made; `rendered` is the network at the asked scale."""
    samples, network, learned = done.samples, done.network, done.learned
    signal = samples.signal
    train = psnr(error(network, samples, samples.train))
    held = psnr(error(network, samples, samples.held)) if len(samples.held) else None
    covered = _under_mask(network, samples)
    fit = rendered if config.scale == 1 else network.render(*rendered_sizes(signal, 1)).numpy()
    figures = {
        "psnr": train,
        "psnr_held_out": held,
        "psnr_under_mask": covered,
        "samples": len(samples.train),
        "parameters": network.num_parameters(),
        "steps": learned.steps,
        "bandwidth": None if done.network.encoding is None else network.config.bandwidth,
    }
    size = f"{network.num_parameters():,} parameters, {4 * network.num_parameters() / 1e3:,.0f} kB"
    summary = f"The network holds this {_named(signal)} at {train:.1f} dB in {size}"
    if held is not None:
        summary += f", and fills in samples held out from it at {held:.1f} dB"
    tiles = [("PSNR", f"{train:.1f} dB", f"of {len(samples.train):,} samples that were learned from")]
    if held is not None:
        tiles.append(("PSNR, held out", f"{held:.1f} dB", f"of {len(samples.held):,} known samples that were not"))
    if covered is not None:
        tiles.append(("PSNR, under the mask", f"{covered:.1f} dB", "of what the file holds there"))
    tiles.append(("network", size.split(", ")[1], f"{network.num_parameters():,} parameters of 4 bytes"))
    tiles.append(("time", f"{done.seconds:,.0f} s", f"of the processor, for {count(learned.steps, 'step')}"))
    notes = [*signal.notes, *([SINGLY] if held is not None else []), *([COVERED] if covered is not None else [])]
    if learned.interrupted:
        notes.append(f"Interrupted after {count(learned.steps, 'step')}: the fit could be better.")
    return FitReport(
        title=f"Fit of {config.signal}",
        summary=f"{summary}.",
        figures=figures,
        tiles=tiles,
        views=views(signal, network, fit),
        detail=detail(signal, rendered, config.scale),
        scale=config.scale,
        traces=traces(signal, network, fit),
        spectra=spectra(signal, fit) if signal.grid else None,
        bandwidth=_bandwidth(config, done),
        learning=_learning(done),
        choices=[*_about_samples(config, samples), *_about_network(config, done), *_about_learning(config, done)],
        notes=notes,
    )


def report_comparison(config: FitConfig, trained: Mapping[EncodingName, Fitted]) -> FitReport:
    """Put the encodings side by side."""
    rows = [_row(encoding, done) for encoding, done in trained.items()]
    ranked = sorted(rows, key=lambda row: -row.test)
    others = ", ".join(f"{row.encoding} {row.test:.1f}" for row in ranked[1:])
    gaussian = trained["gaussian"]
    return FitReport(
        title=f"Encodings of {config.signal}",
        summary=f"On the samples between, {ranked[0].encoding} does best with {ranked[0].test:.1f} dB; {others}.",
        bandwidth=_bandwidth(config, gaussian),
        encodings=rows,
        choices=[*_about_samples(config, gaussian.samples), *_about_learning(config, gaussian)],
        notes=list(gaussian.samples.signal.notes),
    )


def _under_mask(network: CoordinateNetwork, samples: Samples) -> float | None:
    """Return the PSNR on samples that a mask hid and the file has."""
    if samples.signal.hidden is None:
        return None
    there = ~np.isnan(samples.signal.hidden).any(-1).ravel() & ~samples.signal.known
    index = torch.from_numpy(np.flatnonzero(there))
    return psnr(error(network, samples, index, samples.under_mask(index))) if len(index) else None


def _bandwidth(config: FitConfig, done: Fitted) -> BandwidthCurve | None:
    chosen = done.bandwidth
    if chosen is None or len(chosen.candidates) < 2:
        return None
    return BandwidthCurve(config.bandwidth, chosen.candidates.tolist(), chosen.curve.tolist(), chosen.std)


def _learning(done: Fitted) -> Learning:
    """Return PSNR by step, and what the kernel predicts once its clock is set on the first quarter."""
    looks = done.learned.looks
    observed = [(float(look.step), look.train) for look in looks]
    held = [(float(look.step), look.held) for look in looks if look.held is not None]
    early = [look for look in looks if look.step <= max(1, MATCHED * done.learned.steps)]
    if done.decay is None or done.decay.powers.sum() < 1e-12:  # nothing to predict for a signal that is all the same
        return Learning(observed, held)
    times = torch.tensor([look.time for look in early], dtype=torch.float64)
    errors = 10 ** (-torch.tensor([look.train for look in early], dtype=torch.float64) / 10)
    pace = done.decay.pace(times, errors)
    predicted = [(float(look.step), psnr(done.decay.error(pace * look.time).item())) for look in looks]
    return Learning(observed, held, predicted, early[-1].step)


def _row(encoding: EncodingName, done: Fitted) -> EncodingRow:
    network, samples = done.network, done.samples
    signal, bandwidth = samples.signal, done.network.config.bandwidth
    m = 0 if network.encoding is None else len(network.encoding.frequencies)
    setting = {
        "none": "positions as they are",
        "basic": "1 along each axis",
        "positional": f"{m} from 1 to {bandwidth:.3g} along the axes",
        "gaussian": f"{m} of deviation {bandwidth:.3g}",
    }[encoding]
    return EncodingRow(
        encoding=encoding,
        setting=setting,
        parameters=network.num_parameters(),
        steps=done.learned.steps,
        seconds=done.seconds,
        train=psnr(error(network, samples, samples.train)),
        test=psnr(error(network, samples, samples.held)),
        tested=[(float(look.step), look.held) for look in done.learned.looks if look.held is not None],
        views=views(signal, network, network.render(*rendered_sizes(signal, 1)).numpy()),
    )


def _named(signal: Signal) -> str:
    shape = " x ".join(f"{size:,}" for size in signal.grid)
    names = {"picture": f"picture of {shape} pixels", "sound": f"sound of {shape} samples", "array": f"grid of {shape}"}
    return names.get(signal.kind, f"set of {count(len(signal.values), 'point')}")


def _about_samples(config: FitConfig, samples: Samples) -> list[Choice]:
    signal, held = samples.signal, f"{len(samples.held):,}"
    which = f"a tenth of the known ones, {held}, is held out" if len(samples.held) else "all there are"
    if config.encoding == "compare":
        which = f"every second along each axis; {held} between them are tested" if signal.grid else "a random half"
    return [
        Choice("signal", signal.how, "read from the file"),
        Choice("range", f"{signal.low:g} to {signal.high:g}", _why_range(signal)),
        *([Choice("mask", config.mask, "set by you")] if config.mask else []),
        Choice("samples learned from", f"{len(samples.train):,}", which),
    ]


def _why_range(signal: Signal) -> str:
    return "black to white" if signal.kind == "picture" else "the least and the greatest known sample"


def _about_network(config: FitConfig, done: Fitted) -> list[Choice]:
    network = done.network
    settings, how = network.config, "default" if config.encoding == "gaussian" else "set by you"
    choices = [Choice("encoding", settings.encoding, how)]
    if done.bandwidth:
        why = BANDWIDTH_METHODS[config.bandwidth]
        why = "set by you" if config.candidates and len(config.candidates) == 1 else f"{config.bandwidth}: {why}"
        choices.append(Choice("deviation", f"{settings.bandwidth:.4g} cycles over the signal", why))
    if settings.encoding == "positional":
        choices.append(
            Choice("highest frequency", f"{settings.bandwidth:.4g} cycles over the signal", "ours: half of Nyquist")
        )
    layers = (
        f"{settings.depth} hidden ReLU layers of {settings.width}, {'sigmoid' if settings.squash else 'linear'} output"
    )
    return [*choices, Choice("network", layers, "Tancik et al. 2020" if config.width == 256 else "set by you")]


def _about_learning(config: FitConfig, done: Fitted) -> list[Choice]:
    learned = done.learned
    batch = min(BATCH, len(done.samples.train))
    steps = f"{learned.steps:,}"
    why = "default" if config.steps is None else "set by you"
    if learned.stopped:
        why = f"early: the kernel expected less than {LEAST_GAIN:g} dB of more"
    if learned.interrupted:
        why = "interrupted by you"
    cooling = f"Adam, rate {RATE:g}, falling to 0 over the last {100 * COOLING:.0f} % of the steps"
    return [
        Choice("optimiser", cooling, "ours (overtone/tasks/fit_training.py)"),
        Choice("batch", f"{batch:,} samples", "ours: all of a small signal"),
        Choice("steps", steps, why),
        Choice("seed", str(config.seed), "every draw follows from it"),
        Choice("device", config.device, "float32"),
        Choice(
            "versions",
            f"overtone {__version__}, torch {torch.__version__}, transformers {transformers.__version__}",
            "installed here",
        ),
    ]
