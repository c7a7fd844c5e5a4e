"""What stands before a pair of towers: texts become tokens, and pictures become pixels, as transformers does it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor, AutoTokenizer, CLIPImageProcessorPil, PreTrainedTokenizerFast
from transformers.utils import is_protobuf_available, is_sentencepiece_available

from overtone.errors import UserError

MEAN, STD = 0.5, 0.25  # of pixels in [0, 1], the same for every channel, where a model brings none of its own
PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
SIGLIP = ("siglip", "siglip_text_model")


@dataclass(frozen=True)
class Preparation:
    """A tokenizer and an image processor, with what the towers behind them ask for."""

    tokenizer: Any
    processor: Any
    text_type: str  # model_type of the text tower, or of the pair
    length: int  # tokens that the text tower takes at most
    size: int  # pixels of a side that the image tower takes

    def tokenize(self, texts: Sequence[str]) -> Int[Tensor, "batch length"]:
        """Return token ids, cut at the tower's length and padded.

        SigLIP was trained on texts padded to the full length, of lower case, which SigLIP 2's tokenizer leaves to us.
        All others are padded to the longest: exact, since padding is not seen, and most texts are short.
        """
        siglip = self.text_type in SIGLIP
        given = [text.lower() for text in texts] if siglip else list(texts)
        padding = "max_length" if siglip else True
        options = {"padding": padding, "truncation": True, "max_length": self.length, "return_tensors": "pt"}
        return self.tokenizer(given, **options).input_ids

    def pixels(self, image: Image.Image) -> Float[Tensor, "3 size size"]:
        """Return a picture resized and cropped, in [0, 1]."""
        return self.processor(image.convert("RGB"), do_normalize=False, return_tensors="pt").pixel_values[0]

    @property
    def mean(self) -> tuple[float, ...]:
        """What is taken from the pixels of each channel."""
        return tuple(self.processor.image_mean) if self.processor.do_normalize else (0.0, 0.0, 0.0)

    @property
    def std(self) -> tuple[float, ...]:
        """What they are divided by."""
        return tuple(self.processor.image_std) if self.processor.do_normalize else (1.0, 1.0, 1.0)

    def words(self) -> dict[str, Any]:
        """Return how pictures are prepared, in words that JSON can hold."""
        return json.loads(self.processor.to_json_string())

    def save(self, folder: Path) -> None:
        """Write both into a folder, beside a model."""
        self.tokenizer.save_pretrained(folder)
        self.processor.save_pretrained(folder)


def read_preparation(directory: Path, name: str, text_type: str, length: int, size: int) -> Preparation:
    """Read what a directory holds beside a model; UserError where it is missing, broken or of another size."""
    tokenizer = read_tokenizer(directory, name)
    processor = read_processor(directory, name)
    preparation = Preparation(tokenizer, processor, text_type, length, size)
    shape = tuple(preparation.pixels(Image.new("RGB", (2 * size, size))).shape)
    if shape != (3, size, size):
        raise UserError(
            f"model {name!r}: its preprocessor makes pictures of {shape[-1]} x {shape[-2]} and its image encoder takes "
            f"{size} x {size}. Correct size and crop_size in preprocessor_config.json."
        )
    return preparation


def plain_processor(size: int) -> CLIPImageProcessorPil:
    """Return the processor of a new image tower: cover a square of `size` pixels, cut what stands over."""
    return CLIPImageProcessorPil(
        size={"shortest_edge": size},
        crop_size={"height": size, "width": size},
        resample=Image.Resampling.LANCZOS,
        image_mean=[MEAN] * 3,
        image_std=[STD] * 3,
    )


def plain_tokenizer(file: Path) -> PreTrainedTokenizerFast:
    """Return the tokenizer that a lone tokenizer.json describes."""
    return PreTrainedTokenizerFast(tokenizer_file=str(file), pad_token="[PAD]")


def read_tokenizer(directory: Path, name: str) -> Any:
    """Read the tokenizer in a directory; UserError where it cannot be."""
    _check_sentencepiece(directory, name)
    try:
        return AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # tokenizers raises bare Exceptions
        raise UserError(f"model {name!r}: the tokenizer cannot be read ({error}). Save it again.") from error


def read_processor(directory: Path, name: str) -> Any:
    """Read the image processor in a directory; UserError where it is missing or cannot be read."""
    if not any((directory / file).is_file() for file in PROCESSOR_FILES):
        raise UserError(
            f"model {name!r}: preprocessor_config.json is missing. "
            "Save it into the same directory with image_processor.save_pretrained."
        )
    try:
        return AutoImageProcessor.from_pretrained(
            directory, backend="pil", local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise UserError(f"model {name!r}: preprocessor_config.json cannot be read ({error}). Save it again.") from error


def _check_sentencepiece(directory: Path, name: str) -> None:
    """Refuse where transformers would quietly swap SigLIP's tokenizer for one that keeps case and punctuation."""
    path = directory / "tokenizer_config.json"
    declared = json.loads(path.read_text(encoding="utf-8")).get("tokenizer_class") if path.is_file() else None
    if declared == "SiglipTokenizer" and not (is_sentencepiece_available() and is_protobuf_available()):
        raise UserError(f"model {name!r}: its tokenizer needs two more packages: pip install sentencepiece protobuf")
