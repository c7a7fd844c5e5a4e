"""The one-page report of a fit, in the dress of the adapt report's."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..files import write_atomically
from . import fit_figures, pictures
from .fit import Detail, EncodingRow, FitReport, View
from .page import filled

SIDE = 640  # pixels: larger pictures are made smaller for the page
EXACT = 256  # pixels a side up to which a picture is shown without loss
SHARPEST = 0.995  # of the errors that the heat map's colours reach to: a few outliers would leave the rest dark


def write_fit_report(report: FitReport, path: Path) -> Path:
    """Write the report as one HTML page and return its path; a page that cannot be written raises ``OSError``."""
    return write_atomically(path, render_fit(report))


def render_fit(report: FitReport) -> str:
    """Return the page: the same report gives the same text, and a section without content is left out."""
    charts = [
        *([fit_figures.bandwidth_chart(report.bandwidth)] if report.bandwidth else []),
        *([fit_figures.learning_chart(report.learning)] if report.learning else []),
        *([fit_figures.encodings_chart(report.encodings)] if report.encodings else []),
    ]
    return filled(
        "fit.html.j2",
        report=report,
        views=[_view(view) for view in report.views],
        detail=_detail(report.detail) if report.detail else None,
        traces=[fit_figures.trace_chart(trace) for trace in report.traces],
        spectra_chart=fit_figures.spectra_chart(report.spectra) if report.spectra else "",
        charts=charts,
        encodings=[_encoding(row) for row in report.encodings],
        best=max((row.test for row in report.encodings), default=0.0),
        heat_gradient=pictures.heat_gradient(),
    )


def _view(view: View) -> dict[str, Any]:
    """Return a view's three pictures as data URIs, and what the brightest colour of the error stands for."""
    known = view.error[~np.isnan(view.error)]
    brightest = float(np.quantile(known, SHARPEST)) if known.size else 0.0
    share = np.clip(np.nan_to_num(view.error) / (brightest or 1.0), 0, 1)
    heat = np.where(np.isnan(view.error)[..., None], np.nan, pictures.HEAT(share)[..., :3])
    return {
        "about": view.about,
        "original": _uri(view.original),
        "fit": _uri(view.fit),
        "error": _uri(heat),
        "brightest": f"{100 * brightest:.2g}",
        "caption": view.caption,
        "holes": bool(np.isnan(view.original).any()),
    }


def _detail(detail: Detail) -> dict[str, str]:
    return {"original": _uri(detail.original), "fit": _uri(detail.fit)}


def _encoding(row: EncodingRow) -> dict[str, Any]:
    return {"row": row, "views": [_view(view) for view in row.views]}


def _uri(values: np.ndarray) -> str:
    """Return values (height, width, 1 or 3) in [0, 1] as a WebP data URI; what is NaN is transparent."""
    missing = np.isnan(values).any(-1)
    colours = np.broadcast_to(values, (*values.shape[:2], 3))
    image = pictures.from_array(colours)
    if missing.any():
        image.putalpha(Image.fromarray(np.where(missing, 0, 255).astype(np.uint8)))
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=max(image.size) <= EXACT, quality=92, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
