"""Small pictures for the page: thumbnails and heat maps as data URIs, so that the page needs no other file."""

import base64
import io

import numpy as np
from matplotlib import colormaps
from PIL import Image

HEAT = colormaps["inferno"]
_LUMA = np.array([0.299, 0.587, 0.114])


def data_uri(picture: Image.Image, side: int) -> str:
    """Return ``picture`` at most ``side`` pixels wide and high, on white, as a WebP data URI."""
    small = picture.convert("RGBA")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    flat = Image.new("RGBA", small.size, "white")
    flat.alpha_composite(small)
    buffer = io.BytesIO()
    flat.convert("RGB").save(buffer, "WEBP", quality=82, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def from_array(values: np.ndarray) -> Image.Image:
    """Return an RGB picture of values (height, width, 3) in [0, 1]; what lies outside is clipped, NaN is black."""
    return Image.fromarray((255 * np.clip(np.nan_to_num(values), 0, 1)).round().astype(np.uint8), "RGB")


def overlay(picture: np.ndarray, attention: np.ndarray) -> Image.Image:
    """Return the grey picture (height, width, 3) with attention (rows, columns) over it, both in [0, 1].

    The weakest attention of the map is left clear and the strongest is bright: a map shows where, not how much.
    """
    heat = _stretched(attention)
    height, width = picture.shape[:2]
    fine = Image.fromarray(heat.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
    heat = np.clip(np.asarray(fine), 0, 1)
    grey = np.repeat((np.clip(np.nan_to_num(picture), 0, 1) @ _LUMA)[..., None], 3, axis=-1)
    strength = (0.25 + 0.6 * heat)[..., None]
    return from_array((1 - strength) * 0.85 * grey + strength * HEAT(heat)[..., :3])


def heat_gradient(stops: int = 7) -> str:
    """Return the heat map's colours, weak to strong, as the arguments of a CSS ``linear-gradient``."""
    colours = (HEAT(stop)[:3] for stop in np.linspace(0, 1, stops))
    return ", ".join("rgb({:.0f} {:.0f} {:.0f})".format(*(255 * channel for channel in colour)) for colour in colours)


def _stretched(attention: np.ndarray) -> np.ndarray:
    """Return the map scaled to [0, 1]; an even map becomes all 0."""
    clean = np.nan_to_num(np.asarray(attention, float))
    spread = clean.max() - clean.min()
    return (clean - clean.min()) / spread if spread > 0 else np.zeros_like(clean)
