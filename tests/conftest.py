"""A tiny random model and real pictures, laid out as users lay them out."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers.utils.logging import disable_progress_bar

from checked import unless_unchecked  # noqa: F401
from overtone.data.emoji import PICTURES, STYLES
from overtone.models.dual_encoder import DualEncoder, DualEncoderConfig
from overtone.tasks import AdaptConfig, adapt

LETTERS = "abcdefghijklmnopqrstuvwxyz"
A_CLASS = 6  # pictures of each class in `photos`


@pytest.fixture(scope="session", autouse=True)
def quiet() -> None:
    """Switch transformers' bars off, as the command does before it imports transformers."""
    disable_progress_bar()


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep frozen states out of the cache of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OVERTONE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


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
    for name, weight in model.named_parameters():  # at their start, all words and all pictures look alike
        if weight.dim() > 1:
            weight.data.normal_(std=1 if "embeddings" in name else weight[0].numel() ** -0.5)
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
def write_classes() -> Callable[[Path, dict[str, list[bytes]]], Path]:
    """Return what writes pictures into a folder a class."""

    def write(folder: Path, classes: dict[str, list[bytes]]) -> Path:
        for name, files in classes.items():
            (folder / name).mkdir(parents=True)
            for number, file in enumerate(files):
                (folder / name / f"{number}.{'webp' if file[:4] == b'RIFF' else 'png'}").write_bytes(file)
        return folder

    return write


@pytest.fixture
def photos(tmp_path: Path, drawings: dict[str, list[bytes]], write_classes: Callable[..., Path]) -> Path:
    """A folder of class folders; its own to change."""
    return write_classes(tmp_path / "photos", {style: files[:A_CLASS] for style, files in drawings.items()})


@pytest.fixture(scope="session")
def adapted(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, drawings: dict[str, list[bytes]]) -> Path:
    """A finished run on three of the styles; not to be changed."""
    folder = tmp_path_factory.mktemp("adapted")
    for style in ("fluent", "noto", "openmoji"):
        (folder / "photos" / style).mkdir(parents=True)
        for number, file in enumerate(drawings[style][:A_CLASS]):
            (folder / "photos" / style / f"{number}.webp").write_bytes(file)
    data, out = str(folder / "photos"), str(folder / "run")
    return adapt(AdaptConfig(data, model=str(tiny_model), out=out, epochs=2, batch_size=4)).folder
