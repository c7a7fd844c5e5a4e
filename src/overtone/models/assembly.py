"""Put a dual encoder together from an image side and a text side, each new or with weights, trained or locked."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    CLIPTextModelWithProjection,
    CLIPVisionModelWithProjection,
)

from overtone.errors import UserError, did_you_mean
from overtone.models.backbone import (
    EMBEDDED,
    EMBEDDED_TYPE,
    FAMILIES,
    HUB_ID,
    TOKENIZER_FILES,
    check_files,
    find_model,
    read_config,
    read_model,
)
from overtone.models.dual_encoder import (
    EMBEDDED_FOLDER,
    DualEncoder,
    DualEncoderConfig,
    new_tower,
    read_dual,
    text_of,
)
from overtone.models.preparation import (
    PROCESSOR_FILES,
    Preparation,
    plain_processor,
    plain_tokenizer,
    read_processor,
    read_tokenizer,
)
from overtone.models.shfin import ShfinConfig
from overtone.models.tower import Tower
from overtone.models.towers import TEXT, VISION, Family

SideName = Literal["image", "text"]
Lock = Literal["none", "image", "text"]
IMAGE_FIELDS = ("image_size", "stem", "width", "depth", "heads", "position_std", "shfin", "vision")
FEATURES = 384  # of the common space, where neither side brings weights
PROJECTION = "projection.weight"
HEADS = (PROJECTION, "head.weight", "head.bias")  # what maps into the common space, by the towers' own names

# New towers of ours by name: a SHFIN stage with attention on the halved map, and the embedded model's kind
NEW_IMAGE: dict[str, dict[str, Any]] = {
    "shfin": {
        "image_size": 48,
        "shfin": {
            "stem": 4,
            "cells": "overlapping",
            "dims": (64,),
            "depths": (3,),
            "deep": (3,),
            "patches": (6,),
            "kept": (10,),
        },
        "width": 128,
        "depth": 3,
        "heads": 4,
    },
    "conv": {"image_size": 48},
}
NEW_TEXT = "transformer"  # of the embedded model's sizes
NAMES = {"image": (*NEW_IMAGE, EMBEDDED), "text": (NEW_TEXT, EMBEDDED)}
WITH_PROJECTION: dict[str, tuple[Any, str]] = {  # by architecture: the class, and the family that it is of
    "CLIPVisionModelWithProjection": (CLIPVisionModelWithProjection, "clip"),
    "CLIPTextModelWithProjection": (CLIPTextModelWithProjection, "clip"),
}


@dataclass(frozen=True)
class Side:
    """One side of a model to be: its sizes, its weights where it is not new, and what stands before it."""

    name: str  # as the user gave it
    fields: dict[str, Any]  # of the DualEncoderConfig; of its `text`, for a text side
    prepare: Any  # the image processor, or the tokenizer
    weights: Mapping[str, Tensor] = field(default_factory=dict)  # of the tower; none: a new one
    features: int | None = None  # that the weights map into
    logit_scale: float | None = None  # its logarithm, of a whole model
    logit_bias: float | None = None


@dataclass(frozen=True)
class Assembly:
    """A dual encoder to train, with what stands before it."""

    model: DualEncoder
    preparation: Preparation
    fresh: frozenset[str]  # parameters that no weights were given for

    def save(self, folder: Path) -> None:
        """Write weights, config, tokenizer and preprocessing as transformers does; `load_backbone` reads the folder."""
        self.model.save_pretrained(folder)
        self.preparation.save(folder)


def assemble(
    image: Side, text: Side, lock: Lock = "none", logit_bias: bool = False, seed: int = 0, features: int = FEATURES
) -> Assembly:
    """Return the dual encoder of two sides, its new parts drawn under `seed`.

    The common space has the width that the locked side maps into, else the smaller of those that come with weights, and
    `features` where neither does. A side that maps elsewhere gets a new projection. A locked side keeps all weights
    that it came with (LiT, Zhai et al. 2022); a new projection is learned on either side. Temperature and bias go on
    from a model that both sides are of; else they start as CLIP's (1 / 0.07), or with a bias as SigLIP's (10 and -10).

    Raises UserError for a locked side that is new.
    """
    sides: dict[str, Side] = {"image": image, "text": text}
    features = _common_width(sides, lock, features)
    sizes = image.fields | {"text": text.fields, "features": features, "logit_bias": logit_bias}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = DualEncoder(DualEncoderConfig(**sizes))
    given = {f"{side}.{name}" for side in sides for name in _fill(getattr(model, side), sides[side])}
    fresh = frozenset(name for name, _ in model.named_parameters() if name not in given)
    if lock != "none":
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in fresh or not name.startswith(f"{lock}."))
    _set_logits(model, image, text)
    text_type, length, size = text_of(model.config)
    return Assembly(model, Preparation(text.prepare, image.prepare, text_type, length, size), fresh)


def _common_width(sides: dict[str, Side], lock: Lock, otherwise: int) -> int:
    if lock != "none":
        width = sides[lock].features
        if width is None:
            raise UserError(f"--lock {lock}: the {lock} tower {sides[lock].name!r} is new, there is nothing to keep.")
        return width
    return min((side.features for side in sides.values() if side.features), default=otherwise)


def _fill(tower: Tower, side: Side) -> list[str]:
    """Put a side's weights into its tower, but a projection that maps elsewhere, and return their names."""
    there = tower.state_dict()
    fitting = {name: w for name, w in side.weights.items() if name not in HEADS or _like(w, there.get(name))}
    if fitting:
        missing, _ = tower.load_state_dict(fitting, strict=False)
        assert set(missing) <= set(HEADS), missing
    return list(fitting)


def _like(weight: Tensor, other: Tensor | None) -> bool:
    return other is not None and weight.shape == other.shape


@torch.no_grad()
def _set_logits(model: DualEncoder, image: Side, text: Side) -> None:
    start = math.log(10.0 if model.logit_bias is not None else 1 / 0.07)
    whole = image if image.name == text.name else Side("", {}, None)
    model.logit_scale.fill_(start if whole.logit_scale is None else whole.logit_scale)
    if model.logit_bias is not None and whole.logit_bias is not None:
        model.logit_bias.fill_(whole.logit_bias)


def _logits(model: nn.Module) -> tuple[float | None, float | None]:
    """Return the logarithm of a model's logit scale, and its bias, where it has them."""
    scale, bias = (getattr(model, name, None) for name in ("logit_scale", "logit_bias"))
    return None if scale is None else scale.item(), None if bias is None else bias.item()


# From names to sides


def read_side(side: SideName, name: str) -> Side:
    """Return the side that `name` stands for.

    It is one of NAMES; a folder or hub id of a whole model (ours, CLIP, SigLIP) or of one encoder (`towers.VISION`,
    `towers.TEXT`); or a config's JSON file, for a new one of its sizes. Raises UserError.
    """
    if side == "image" and name in NEW_IMAGE:
        return Side(name, NEW_IMAGE[name], plain_processor(NEW_IMAGE[name]["image_size"]))
    if side == "text" and name == NEW_TEXT:
        config = json.loads((EMBEDDED_FOLDER / "config.json").read_text(encoding="utf-8"))
        return Side(name, config["text"], plain_tokenizer(EMBEDDED_FOLDER / "tokenizer.json"))
    if name == EMBEDDED:
        return _of_dual(side, name, EMBEDDED_FOLDER)
    if Path(name).is_file():
        return _new_from_file(side, Path(name))
    if not Path(name).exists() and not HUB_ID.fullmatch(name):
        near = did_you_mean(name, NAMES[side])
        raise UserError(
            f"--{side}-tower {name!r}: there is no such folder or file.{near} "
            f"Give {', '.join(NAMES[side])}, a folder, a hub id, or a config's JSON file."
        )
    folder = find_model(name)
    model_type = read_config(folder, name).get("model_type")
    _require_known(side, name, model_type)
    check_files(folder, name, tokenizer=side == "text")
    if model_type == EMBEDDED_TYPE:
        return _of_dual(side, name, folder)
    return _of_family(side, name, folder)


def _of_dual(side: SideName, name: str, folder: Path) -> Side:
    model, preparation = read_dual(folder, name)
    config, prepare = model.config, preparation.processor if side == "image" else preparation.tokenizer
    fields = {key: getattr(config, key) for key in IMAGE_FIELDS} if side == "image" else config.text
    weights = getattr(model, side).state_dict()
    return Side(name, fields, prepare, weights, config.features, *_logits(model))


def _of_family(side: SideName, name: str, folder: Path) -> Side:
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    model, tower = _read_tower(side, name, folder, config)
    inner = config
    if config.model_type in FAMILIES:
        inner = config.vision_config if side == "image" else config.text_config
    fields = {key: value for key, value in inner.to_dict().items() if key != "_name_or_path"}
    prepare = _processor(folder, name, fields["image_size"]) if side == "image" else read_tokenizer(folder, name)
    sizes = {"vision": fields} if side == "image" else fields
    return Side(name, sizes, prepare, tower.state_dict(), tower.features, *_logits(model))


def _read_tower(side: SideName, name: str, folder: Path, config: Any) -> tuple[nn.Module, Tower]:
    """Return the model in a folder, and its tower; an encoder without projection maps as it is, by the identity."""
    architecture = (config.architectures or [""])[0]
    if config.model_type in FAMILIES or architecture in WITH_PROJECTION:
        model_class, kind = WITH_PROJECTION.get(architecture, (None, config.model_type))
        whole_class, image_tower, text_tower = FAMILIES[kind]
        model = read_model(model_class or whole_class, folder, name, torch.float32)
        return model, (image_tower if side == "image" else text_tower)(model)
    family = _families(side)[config.model_type]
    model = read_model(family.model, folder, name, torch.float32, **family.options)
    width = model.head.out_features if config.model_type == "siglip_text_model" else config.hidden_size
    tower = family.tower(model, width)
    if isinstance(projection := getattr(tower, "projection", None), nn.Linear):
        nn.init.eye_(projection.weight)
    return model, tower


def _new_from_file(side: SideName, path: Path) -> Side:
    """Return a new side of the sizes in a config's JSON file; what stands before it may lie beside the file."""
    name = str(path)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        model_type = config["model_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"--{side}-tower {name!r}: no config of transformers ({error}). Give a config.json.") from error
    _require_known(side, name, model_type)
    try:
        fields = _fields(side, config)
        size = _require_buildable(side, fields)
    except Exception as error:  # of whatever checks its model has, or lacks
        reason = f"nothing is called {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"--{side}-tower {name!r}: no tower can be made of it: {shorten(reason, 200)}") from error
    if side == "image":
        return Side(name, fields, _processor(path.parent, name, size))
    return Side(name, fields["text"], _tokenizer_beside(path, fields["text"]))


def _fields(side: SideName, config: dict[str, Any]) -> dict[str, Any]:
    """Return what a config, of whichever model, says of one side, as fields of a DualEncoderConfig."""
    if config["model_type"] == EMBEDDED_TYPE:
        _require_fields_of_shfin(config.get("shfin") or {})
        return (
            {key: config[key] for key in IMAGE_FIELDS if key in config} if side == "image" else {"text": config["text"]}
        )
    if (model_type := config["model_type"]) in FAMILIES:
        part, kind = ("vision_config", "vision_model") if side == "image" else ("text_config", "text_model")
        config = {"model_type": f"{model_type}_{kind}"} | config[part]
    return {"vision" if side == "image" else "text": AutoConfig.for_model(**config).to_dict()}


def _require_fields_of_shfin(given: dict[str, Any]) -> None:
    """Raise ValueError for a field that a ShfinConfig would take without a word, and not use."""
    known = ShfinConfig().to_dict()
    if unknown := [name for name in given if name not in known]:
        raise ValueError(f"shfin has no {unknown[0]!r}.{did_you_mean(unknown[0], known)}")


def _require_buildable(side: SideName, fields: dict[str, Any]) -> int:
    """Make the tower, in no memory, so that what stands against it is raised; return the pixels that it takes."""
    config = DualEncoderConfig(**fields)
    with torch.device("meta"):
        new_tower(side, config)
    size = text_of(config)[2]
    if not isinstance(size, int):
        raise ValueError(f"image_size is {size!r}: give a whole number")
    return size


def _tokenizer_beside(path: Path, fields: dict[str, Any]) -> Any:
    if any((path.parent / file).is_file() for file in TOKENIZER_FILES):
        tokenizer = read_tokenizer(path.parent, str(path))
    elif fields.get("model_type", "bert") == "bert":
        tokenizer = plain_tokenizer(EMBEDDED_FOLDER / "tokenizer.json")
    else:
        raise UserError(
            f"--text-tower {str(path)!r}: no tokenizer beside it, none of {', '.join(TOKENIZER_FILES)}. "
            "Save one there with tokenizer.save_pretrained."
        )
    if len(tokenizer) > fields["vocab_size"]:
        raise UserError(
            f"--text-tower {str(path)!r}: vocab_size is {fields['vocab_size']}, and its tokenizer has {len(tokenizer)} "
            "tokens. Set vocab_size to that, or put another tokenizer beside the config."
        )
    return tokenizer


def _processor(folder: Path, name: str, size: int) -> Any:
    there = any((folder / file).is_file() for file in PROCESSOR_FILES)
    return read_processor(folder, name) if there else plain_processor(size)


def _families(side: SideName) -> dict[str, Family]:
    return VISION if side == "image" else TEXT


def _require_known(side: SideName, name: str, model_type: object) -> None:
    known = [EMBEDDED_TYPE, *FAMILIES, *_families(side)]
    if model_type in known:
        return
    other: SideName = "text" if side == "image" else "image"
    if model_type in _families(other):
        raise UserError(
            f"--{side}-tower {name!r}: this is {'an' if other == 'image' else 'a'} {other} encoder ({model_type})."
        )
    near = did_you_mean(str(model_type), known)
    raise UserError(
        f"--{side}-tower {name!r}: model_type is {model_type!r}; supported are {', '.join(known)}.{near} "
        f"New ones without a file: {', '.join(NAMES[side])}."
    )
