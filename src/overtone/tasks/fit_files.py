"""What a fit leaves in its folder: figures, page, card, network, and the signal as the network has it."""

import dataclasses
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from overtone.data import MAX_PIXELS
from overtone.data.signals import Signal
from overtone.data.sounds import wav_bytes
from overtone.errors import UserError
from overtone.files import write_atomically
from overtone.models.coordinate import CoordinateNetwork
from overtone.nn import grid
from overtone.report.card import choices_table, inline, section
from overtone.report.fit import FitReport
from overtone.report.fit_page import write_fit_report

NETWORK = "model"


def rendered_sizes(signal: Signal, scale: float) -> tuple[int, ...]:
    """Return the grid that a network is rendered on; of scattered points, at scale 1 it has about as many cells.

    Raises UserError for one that is too large.
    """
    cells = signal.grid or (round(len(signal.values) ** (1 / signal.dims)),) * signal.dims
    sizes = tuple(max(1, round(scale * size)) for size in cells)
    if math.prod(sizes) > MAX_PIXELS:
        shape = " x ".join(f"{size:,}" for size in sizes)
        raise UserError(f"--scale {scale:g} makes {shape} samples, more than {MAX_PIXELS:,}: give a smaller one.")
    return sizes


def write_fit(
    report: FitReport, signal: Signal, network: CoordinateNetwork, rendered: np.ndarray, scale: float, folder: Path
) -> None:
    """Write everything that a fit leaves; the network comes last, so that a folder with it is whole."""
    name, content = rendered_file(signal, rendered, scale)
    write_atomically(folder / name, content)
    _write_figures(report, folder)
    write_atomically(folder / "README.md", _card(report, signal))
    network.save_pretrained(folder / NETWORK)


def write_comparison(report: FitReport, folder: Path) -> None:
    """Write the figures and the page of a comparison of encodings."""
    _write_figures(report, folder)


def rendered_file(signal: Signal, values: np.ndarray, scale: float) -> tuple[str, bytes]:
    """Return name and bytes of a file of the signal's own kind with the values (*sizes, channels) of a rendering."""
    file = io.BytesIO()
    if signal.kind == "sound":
        return "fit.wav", wav_bytes(values, max(1, round(signal.rate * scale)))
    if signal.kind == "picture":
        white, levels = (65535, np.uint16) if signal.bits == 16 else (255, np.uint8)
        pixels = (white * np.clip(values, 0, 1)).round().astype(levels)
        Image.fromarray(pixels if signal.channels == 3 else pixels[..., 0]).save(file, "PNG")
        return "fit.png", file.getvalue()
    plain = values[..., 0] if signal.channels == 1 else values
    if signal.kind == "array":
        np.save(file, plain)
        return "fit.npy", file.getvalue()
    positions = grid(*values.shape[:-1]).numpy() * signal.extent + signal.origin
    np.savez(file, positions=positions, values=plain.reshape(len(positions), *plain.shape[signal.dims :]))
    return "fit.npz", file.getvalue()


def metrics_json(report: FitReport) -> str:
    """Return the figures, the curves and the comparison as plain JSON, without times: the same seed gives the same."""
    metrics: dict[str, Any] = {"title": report.title, "summary": report.summary, **report.figures}
    for name in ("learning", "bandwidth", "spectra"):
        if (record := getattr(report, name)) is not None:
            metrics[name] = dataclasses.asdict(record)
    columns = ("encoding", "setting", "parameters", "steps", "train", "test")
    if report.encodings:
        metrics["encodings"] = [{name: getattr(row, name) for name in columns} for row in report.encodings]
    return json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _write_figures(report: FitReport, folder: Path) -> None:
    write_atomically(folder / "metrics.json", metrics_json(report))
    write_fit_report(report, folder / "report.html")


def _card(report: FitReport, signal: Signal) -> str:
    """Return the card: what the network holds, how to ask it, how it was made."""
    front = yaml.safe_dump({"library_name": "overtone", "tags": ["coordinate-network"]}, sort_keys=False)
    sizes = ", ".join(str(2 * size) for size in signal.grid) or ", ".join(["256"] * signal.dims)
    use = (
        "```python\nimport overtone as ot\n\n"
        f'network = ot.models.CoordinateNetwork.from_pretrained("{NETWORK}")\n'
        f"values = network.render({sizes})  # at any size; network(positions) at any place\n```"
    )
    sections = (
        section("Use", use),
        section("How it was made", choices_table(report.choices)),
        section("Limits", "\n".join(f"- {inline(note)}" for note in report.notes)),
    )
    opening = f"# {inline(report.title)}\n\n{inline(report.summary)}\n"
    return f"---\n{front}---\n\n" + "\n".join((opening, *filter(None, sections)))
