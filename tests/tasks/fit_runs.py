"""Small fits, and a picture to fit."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from overtone.tasks import FitConfig, FitResult, fit

Run = Callable[..., FitResult]


def small_fit(signal: object, **settings: Any) -> FitResult:
    """Fit a small network, in a few steps unless told."""
    return fit(FitConfig(str(signal), **({"steps": 40, "width": 32, "device": "cpu"} | settings)))


def waves(path: Path) -> Path:
    """Write a picture of waves, 20 x 24, three channels."""
    y, x = np.mgrid[:20, :24] / 8
    levels = np.stack([np.sin(3 * x + y), np.cos(2 * y), np.sin(5 * x)], -1)
    Image.fromarray((127.5 + 100 * levels).astype(np.uint8)).save(path)
    return path


def metrics(result: FitResult) -> dict[str, Any]:
    """Return the figures that a fit wrote for machines."""
    return json.loads((result.folder / "metrics.json").read_text())
