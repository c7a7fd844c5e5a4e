import base64
import io

import numpy as np
import pytest
from PIL import Image

from overtone.report.pictures import data_uri, from_array, heat_gradient, overlay


def decode(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1])))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "CMYK", "1"])
@pytest.mark.parametrize("size", [(300, 200), (1, 500), (17, 40)])
def test_thumbnail_keeps_its_shape_within_the_side(mode, size):
    small = decode(data_uri(Image.new(mode, size), 96))
    assert max(small.size) == min(96, max(size))
    # A thumbnail is rounded to whole pixels and never thinner than one.
    assert small.width == pytest.approx(max(1, size[0] * max(small.size) / max(size)), abs=1)


def test_what_is_transparent_becomes_white_and_the_picture_is_not_changed():
    clear = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    assert np.asarray(decode(data_uri(clear, 8))).min() >= 250
    assert clear.size == (20, 20)


def test_array_is_clipped():
    values = np.array([[[-1, 0.5, 2], [np.nan, 0, 1]]])
    assert np.asarray(from_array(values)).tolist() == [[[0, 128, 255], [0, 0, 255]]]


def test_overlay_is_brightest_where_attention_is_and_ignores_scale():
    picture = np.full((32, 48, 3), 0.5)
    attention = np.zeros((4, 6))
    attention[1, 4] = 1
    image = np.asarray(overlay(picture, attention), float)
    assert image.shape == (32, 48, 3)
    row, column = np.unravel_index(image.sum(-1).argmax(), (32, 48))
    assert (row // 8, column // 8) == (1, 4)
    np.testing.assert_array_equal(np.asarray(overlay(picture, 0.2 + 0.001 * attention)), image)


def test_even_attention_shows_no_place():
    image = np.asarray(overlay(np.full((8, 8, 3), 0.5), np.full((2, 2), 0.7)))
    assert len(np.unique(image.reshape(-1, 3), axis=0)) == 1


def test_gradient_runs_from_dark_to_bright():
    colours = [sum(map(int, part.strip("rgb() ").split())) for part in heat_gradient().split(", ")]
    assert colours == sorted(colours)
