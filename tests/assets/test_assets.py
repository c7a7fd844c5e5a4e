"""What is shipped in `assets/`: the picture set as it is described, and a model that knows names it never saw."""

import hashlib
import io
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import overtone
from overtone.data import emoji_part
from overtone.data.emoji import STYLES
from overtone.farl import image_states, text_states
from overtone.models import load_backbone

ASSETS = Path(overtone.__file__).parent / "assets"
MIB = 2**20


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    return pq.read_table(ASSETS / "emoji.parquet").to_pylist()


def test_assets_stay_small() -> None:
    assert sum(path.stat().st_size for path in ASSETS.rglob("*") if path.is_file()) < 32 * MIB


def test_every_concept_is_drawn_once_in_every_style(rows: list[dict]) -> None:
    drawn = [(row["concept"], row["style"]) for row in rows]
    concepts = {row["concept"] for row in rows}
    assert len(concepts) == 1594
    assert sorted(drawn) == sorted((concept, style) for concept in concepts for style in STYLES)


def test_pictures_are_of_the_size_and_not_blank(rows: list[dict]) -> None:
    for row in rows[::37]:
        picture = Image.open(io.BytesIO(row["image"]))
        assert picture.size == (64, 64)
        assert len(picture.convert("RGBA").getcolors(64 * 64) or ()) > 1


def test_concepts_are_divided_by_their_hash(rows: list[dict]) -> None:
    """Recomputed here: sha256's first four bytes as a share of 2^32, 60 % pretrain, 20 % base, 20 % new."""
    for row in rows:
        share = int.from_bytes(hashlib.sha256(row["concept"].encode()).digest()[:4]) / 2**32
        assert row["part"] == ("pretrain" if share < 0.6 else "base" if share < 0.8 else "new")


def test_rows_name_their_licence_names_and_groups(rows: list[dict]) -> None:
    licences = {"noto": "Apache-2.0", "twemoji": "CC-BY-4.0", "openmoji": "CC-BY-SA-4.0", "fluent": "MIT"}
    assert all(row["licence"] == licences[row["style"]] for row in rows)
    assert all(row["name"] and row["group"] and row["subgroup"] for row in rows)
    assert len({row["name"] for row in rows}) == 1594


@pytest.mark.parametrize("style", ["noto", "fluent"])
def test_the_embedded_model_knows_names_it_never_saw(style: str) -> None:
    """Ten times chance at least, top-5 among 290 names; the card has the exact figures."""
    backbone, images = load_backbone("embedded"), emoji_part("new", [style])
    w = text_states(backbone, images.classes, ["{}"], "cpu").frozen
    pixels = torch.stack([backbone.pixels(record.open()) for record in images.records])
    nearest = (image_states(backbone, pixels, streams=False).frozen @ w.T).topk(5).indices
    hits = (nearest == torch.tensor(images.labels)[:, None]).any(dim=1).float().mean()
    assert hits > 10 * 5 / len(images.classes)


def test_the_text_tower_puts_like_names_together() -> None:
    backbone = load_backbone("embedded")
    w = text_states(backbone, ["violin", "cello", "tractor", "lorry"], ["{}"], "cpu").frozen
    cosines = w @ w.T
    assert cosines[0, 1] > cosines[0, 2]
    assert cosines[2, 3] > cosines[1, 3]
