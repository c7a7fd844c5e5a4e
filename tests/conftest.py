"""A tiny random model and real pictures, laid out as users lay them out."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from overtone.data.emoji import PICTURES, STYLES
from overtone.models.dual_encoder import DualEncoder, DualEncoderConfig

LETTERS = "abcdefghijklmnopqrstuvwxyz"
A_CLASS = 6  # pictures of each class in `photos`


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `DualEncoder` of random weights, saved; its tokens are single letters, so that every name has its own."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", *LETTERS, *(f"##{c}" for c in LETTERS)])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    torch.manual_seed(0)
    text = {"vocab_size": len(vocabulary), "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    text |= {"intermediate_size": 48, "max_position_embeddings": 48}
    config = DualEncoderConfig(image_size=48, stem=(8, 16), width=32, depth=4, heads=2, text=text, features=24)
    model = DualEncoder(config)
    for parameter in model.parameters():  # far from its start, where all pictures look alike
        parameter.data += 0.2 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="session")
def drawings() -> dict[str, list[bytes]]:
    """Files of real pictures by who drew them."""
    wanted = [("style", "in", STYLES), ("part", "==", "pretrain")]
    table = pq.read_table(PICTURES, columns=["style", "image"], filters=wanted).to_pylist()
    return {style: [row["image"] for row in table if row["style"] == style][:40] for style in STYLES}


@pytest.fixture
def photos(tmp_path: Path, drawings: dict[str, list[bytes]]) -> Path:
    """A folder of class folders; its own to change."""
    return write_classes(tmp_path / "photos", {style: files[:A_CLASS] for style, files in drawings.items()})


def write_classes(folder: Path, classes: dict[str, list[bytes]]) -> Path:
    """Write pictures into a folder a class."""
    for name, files in classes.items():
        (folder / name).mkdir(parents=True)
        for number, file in enumerate(files):
            (folder / name / f"{number}.{'webp' if file[:4] == b'RIFF' else 'png'}").write_bytes(file)
    return folder
