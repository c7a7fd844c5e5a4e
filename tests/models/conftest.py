"""Tiny models as they look once saved."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_models import SIZE, build_clip, build_siglip, clip_tokenizer, siglip_tokenizer
from transformers import CLIPImageProcessorPil, SiglipImageProcessorPil


@pytest.fixture
def clip_directory(tmp_path: Path) -> Path:
    directory = tmp_path / "tiny-clip"
    build_clip().save_pretrained(directory)
    clip_tokenizer().save_pretrained(directory)
    size = {"height": SIZE, "width": SIZE}
    CLIPImageProcessorPil(size={"shortest_edge": SIZE}, crop_size=size).save_pretrained(directory)
    return directory


@pytest.fixture
def siglip_directory(tmp_path: Path) -> Path:
    directory = tmp_path / "tiny-siglip"
    build_siglip().save_pretrained(directory)
    siglip_tokenizer().save_pretrained(directory)
    SiglipImageProcessorPil(size={"height": SIZE, "width": SIZE}).save_pretrained(directory)
    return directory


@pytest.fixture
def edit_json() -> Callable[..., None]:
    def edit(path: Path, **changes: object) -> None:
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit
