"""The script that makes pairs of clip art: which titles are good, what is drawn, and that no split leaks."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("resvg_py")  # which only who builds the assets has

from tools.build_clipart import SIZE, Drawing, counted, divide, draw, is_title, read_drawing, tidy_title

from overtone.data.perceptual_hash import NEAR, dhash
from tools import build_clipart

WORDS = frozenset(("lighthouse", "flag", "cone", "hat", "clothing", "dog", "tiger", "drawn", "sleeping", "cat"))
SVG = """<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"><metadata>
<rdf:RDF xmlns:cc="http://web.resource.org/cc/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><cc:Work rdf:about=""><dc:title>{title}</dc:title>
<dc:subject><rdf:Bag><rdf:li></rdf:li><rdf:li>boat_house</rdf:li><rdf:li>hash</rdf:li><rdf:li>sea</rdf:li>
<rdf:li>Ann Maker</rdf:li><rdf:li>0x9c7e</rdf:li><rdf:li>lemon_theme_icon</rdf:li></rdf:Bag></dc:subject>
<dc:creator><cc:Agent><dc:title>Ann Maker</dc:title></cc:Agent></dc:creator>
<cc:license rdf:resource="{licence}"/></cc:Work></rdf:RDF></metadata>{shape}</svg>"""
PUBLIC = "http://web.resource.org/cc/PublicDomain"
BLACK = '<rect x="10" width="20" height="20"/><circle cx="20" cy="10" r="5" fill="red"/>'


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_clipart, "english", lambda: WORDS)


def svg(
    folder: Path, title: str = "lighthouse", licence: str = PUBLIC, shape: str = BLACK, name: str = "lighthouse_01"
) -> Path:
    file = folder / f"{name}.svg"
    file.write_text(SVG.format(title=title, licence=licence, shape=shape), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("title", "tidy"),
    [
        ("Clipart by Ann Maker - United States - Maryland", "United States - Maryland"),
        ("horse#2", "horse"),
        ("Uccello  profilo 02", "Uccello profilo"),
        ("2 dead frogs", "2 dead frogs"),
        ("Hat.", "Hat"),
    ],
)
def test_tidy_titles(title: str, tidy: str) -> None:
    assert tidy_title(title) == tidy


@pytest.mark.parametrize(
    ("title", "good"),
    [
        ("Dog drawn", True),
        ("hat - clothing", True),
        ("sleeping_cat", False),  # a file's name
        ("cat.svg", False),
        ("tiger01x", False),
        ("Cone (3D)", True),
        ("Camicia in seta", False),  # not English
        ("Flag of lighthouse", False),  # of another picture
        ("", False),
    ],
)
def test_good_titles(title: str, good: bool) -> None:
    assert is_title(title, "dog_01 hat cone tiger sleeping_cat camicia seta") is good


def test_title_and_keywords_of_a_drawing(tmp_path: Path) -> None:
    assert read_drawing(svg(tmp_path)) == Drawing(
        "clip art", tmp_path / "lighthouse_01.svg", ("lighthouse", "boat house", "sea")
    )
    assert read_drawing(svg(tmp_path, title="gramastar")) is None
    assert read_drawing(svg(tmp_path, licence="http://creativecommons.org/licenses/GPL/2.0/")) is None
    (tmp_path / "lighthouse_01.svg").write_text("<svg>")
    assert read_drawing(tmp_path / "lighthouse_01.svg") is None


def test_a_drawing_fills_its_square_without_its_border(tmp_path: Path) -> None:
    drawn = draw(Drawing("clip art", svg(tmp_path), ("lighthouse",)))
    assert drawn is not None
    picture = Image.open(io.BytesIO(drawn))
    assert picture.size == (SIZE, SIZE)
    assert np.asarray(picture.convert("RGBA"))[..., 3].min() == 255  # the black square fills it


def test_what_is_broken_or_blank_is_left_out(tmp_path: Path) -> None:
    white = '<rect width="20" height="20" fill="white"/>'
    for shape in ("", white):
        assert draw(Drawing("clip art", svg(tmp_path, shape=shape), ("a",))) is None
    (tmp_path / "a.png").write_bytes(b"no picture")
    assert draw(Drawing("stamps", tmp_path / "a.png", ("a",))) is None


def test_no_split_leaks_into_another() -> None:
    """Random pictures, a fifth of which come again as worse copies under other titles, and some titles twice."""
    rng = np.random.default_rng(0)
    cells = rng.integers(256, size=(300, 8, 9, 3)).astype(np.uint8)
    pictures = [Image.fromarray(c.repeat(8, 0).repeat(8, 1)) for c in cells]
    pictures += [picture.resize((54, 48)) for picture in pictures[:60]]
    titles = [f"title {n % 340}" for n in range(360)]
    splits = divide([webp(picture) for picture in pictures], titles)
    assert {name: splits.count(name) for name in ("test", "validation")} == {"test": 36, "validation": 36}
    bits = [dhash(picture) for picture in pictures]
    for i in range(len(pictures)):
        for j in range(i):
            if splits[i] != splits[j]:
                assert (bits[i] ^ bits[j]).bit_count() > NEAR
                assert titles[i] != titles[j]
    assert counted(zip(["a"] * 360, splits, strict=True)) == "a test 36, a train 288, a validation 36"


def webp(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "WEBP", lossless=True)
    return out.getvalue()
