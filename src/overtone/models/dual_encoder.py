"""An image encoder beside a text encoder, in one space: the embedded model, and whatever is pre-trained."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import AutoConfig, AutoModel, BertConfig, PreTrainedConfig, PreTrainedModel

from overtone.models.backbone import EMBEDDED, Backbone, digest_of_files, read_model, weight_files
from overtone.models.coordinate import FREQUENCIES
from overtone.models.encoders import ImageEncoder
from overtone.models.preparation import (
    MEAN,
    PROCESSOR_FILES,
    STD,
    Preparation,
    plain_processor,
    plain_tokenizer,
    read_preparation,
)
from overtone.models.shfin import PRECISE, anneal, chosen_frequencies
from overtone.models.tower import Tower
from overtone.models.towers import TEXT, VISION
from overtone.nn import PatchSpectrum

KEPT_PRECISE = [*PRECISE, *FREQUENCIES]
EMBEDDED_FOLDER = Path(str(files("overtone") / "assets/embedded"))
UNDECAYED = ("scores", "theta", "logit_scale", "logit_bias")  # parameters' last names
__all__ = ["MEAN", "STD", "DualEncoder", "DualEncoderConfig", "load_embedded", "read_dual"]


class DualEncoderConfig(PreTrainedConfig):
    """Sizes of a `DualEncoder`.

    The image tower is ours: convolutions (`stem`), or with `shfin` SHFIN stages (fields of a ShfinConfig), down to
    patches, whose positions are Fourier features of deviation `position_std`, then `depth` blocks of attention. With
    `vision`, the fields of a transformers config (one of `towers.VISION` by its `model_type`), it is that model
    instead. `text` holds those of one of `towers.TEXT`, a BertConfig's where it names no type. `logit_bias` adds
    SigLIP's learned bias to the logits.

    Raises ValueError for a type that is not known.
    """

    model_type = "overtone-dual-encoder"

    def __init__(
        self,
        image_size: int = 48,
        stem: Sequence[int] = (32, 64),
        width: int = 128,
        depth: int = 3,
        heads: int = 4,
        position_std: float = 2.0,
        shfin: dict[str, Any] | None = None,
        vision: dict[str, Any] | None = None,
        text: dict[str, Any] | None = None,
        features: int = 384,
        logit_bias: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image_size = image_size if vision is None else vision["image_size"]
        self.stem = list(stem)
        self.width = width
        self.depth = depth
        self.heads = heads
        self.position_std = position_std
        self.shfin = shfin
        self.vision = vision
        self.text = {"model_type": "bert"} | (text or BertConfig().to_dict())
        self.features = features
        self.logit_bias = logit_bias
        for given, families in ((vision, VISION), (self.text, TEXT)):
            if given is not None and given.get("model_type") not in families:
                raise ValueError(f"model_type must be one of {', '.join(families)}, got {given.get('model_type')!r}")


def new_tower(side: Literal["image", "text"], config: DualEncoderConfig) -> Tower:
    """Return one side of a model, with fresh weights."""
    if side == "text":
        return TEXT[config.text["model_type"]].new(config.text, config.features)
    if config.vision is None:
        return ImageEncoder(config)
    return VISION[config.vision["model_type"]].new(config.vision, config.features)


class DualEncoder(PreTrainedModel):
    """An image and a text encoder whose embeddings of a matching pair point the same way."""

    config_class = DualEncoderConfig
    _keep_in_fp32_modules_strict = KEPT_PRECISE
    config: DualEncoderConfig
    base_model_prefix = "dual_encoder"
    image: Tower
    text: Tower

    def __init__(self, config: DualEncoderConfig) -> None:
        super().__init__(config)
        self.image, self.text = new_tower("image", config), new_tower("text", config)
        self.logit_scale = nn.Parameter(torch.tensor(30.0).log())
        self.logit_bias = nn.Parameter(torch.tensor(-10.0)) if config.logit_bias else None
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Keep what the layers chose for themselves; fill what is not saved, which is empty after loading."""
        if isinstance(module, PatchSpectrum):
            module.reset_buffers()
        for name, buffer in module.named_buffers(recurse=False):
            if name == "position_ids":
                buffer.copy_(torch.arange(buffer.shape[1]))

    def forward(
        self, pixel_values: Float[Tensor, "batch 3 h w"], input_ids: Int[Tensor, "texts length"]
    ) -> Float[Tensor, "batch texts"]:
        """Return the scaled cosine of every image with every text, with the bias where there is one."""
        image, text = normalize(self.image(pixel_values), dim=-1), normalize(self.text(input_ids), dim=-1)
        logits = self.logit_scale.exp() * image @ text.T
        return logits if self.logit_bias is None else logits + self.logit_bias

    def set_progress(self, fraction: float, seed: int = 0) -> None:
        """Anneal all SHFIN layers to where training stands, 0 to 1; the noise follows from `fraction` and `seed`."""
        anneal(self, fraction, seed)

    def no_weight_decay(self) -> set[str]:
        """Name the parameters that decay would pull to no meaning: of frequencies, and of the logits."""
        return {name for name, _ in self.named_parameters() if name.rsplit(".", 1)[-1] in UNDECAYED}

    def chosen_frequencies(self) -> list[tuple[str, np.ndarray]]:
        """Return for each SHFIN layer a map of its patch's frequencies, zero in the middle, 1 for its K."""
        return chosen_frequencies(self)


AutoConfig.register(DualEncoderConfig.model_type, DualEncoderConfig)
AutoModel.register(DualEncoderConfig, DualEncoder)


def load_embedded(directory: Path | None = None) -> Backbone:
    """Return the model that comes with Overtone, or a `DualEncoder` saved in `directory` with its tokenizer."""
    folder = directory or EMBEDDED_FOLDER
    model, preparation = read_dual(folder, str(directory or EMBEDDED))
    digest = digest_of_files(weight_files(folder))
    return Backbone.of(EMBEDDED, model.image, model.text, preparation, model.logit_scale, digest)


def read_dual(folder: Path, name: str) -> tuple[DualEncoder, Preparation]:
    """Read a saved `DualEncoder` in float32, and what stands before it.

    Where only a tokenizer.json lies beside it, pictures are prepared as for a new tower. Raises UserError, which calls
    the model `name`.
    """
    model = read_model(DualEncoder, folder, name, torch.float32)
    text_type, length, size = text_of(model.config)
    if any((folder / file).is_file() for file in PROCESSOR_FILES):
        return model, read_preparation(folder, name, text_type, length, size)
    tokenizer = plain_tokenizer(folder / "tokenizer.json")
    return model, Preparation(tokenizer, plain_processor(size), text_type, length, size)


def text_of(config: DualEncoderConfig) -> tuple[str, int, int]:
    """Return the type of the text tower, the tokens that it takes at most, and the pixels that the image tower takes.

    RoBERTa counts its positions from behind the padding's.
    """
    text = config.text
    reserved = text["pad_token_id"] + 1 if "roberta" in text["model_type"] else 0
    return text["model_type"], text["max_position_embeddings"] - reserved, config.image_size
