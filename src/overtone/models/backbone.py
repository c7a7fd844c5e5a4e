"""A pair of towers with all that stands around them: preprocessing, tokens, temperature, identity."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from jaxtyping import Float, Int
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import CLIPModel, SiglipModel

from overtone.data.hub import hub_answers
from overtone.errors import UserError, did_you_mean
from overtone.models.clip import ClipImageTower, ClipTextTower
from overtone.models.preparation import Preparation, read_preparation
from overtone.models.siglip import SiglipImageTower, SiglipTextTower
from overtone.models.tower import Tower

EMBEDDED = "embedded"
EMBEDDED_TYPE = "overtone-dual-encoder"
FAMILIES: dict[str, tuple[Any, Callable[[Any], Tower], Callable[[Any], Tower]]] = {
    "clip": (CLIPModel, ClipImageTower, ClipTextTower),
    "siglip": (SiglipModel, SiglipImageTower, SiglipTextTower),
}
PRETRAINING, PRETRAINED = "pretraining.json", "model"  # what a run of `pretrain` leaves last, and its model
ADAPTER = "adapter.json"  # what a run of `adapt` leaves last
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@.+)?")  # owner/name, or owner/name@revision
HUB_FILES = ["*.json", "*.txt", "*.model", "model*.safetensors"]  # no pickles, no other frameworks' weights
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model")
ELSEWHERE = f"Use --model {EMBEDDED}, or a local directory that save_pretrained wrote."
WRAPPING = "Any other pair of towers can be wrapped from Python: overtone.models.backbone.Backbone."


@dataclass
class Backbone:
    """An image and a text tower in one space, frozen; build one by hand to adapt encoders of your own.

    `tokenize` pads, trims and cuts texts as the text tower wants them; `pixels` resizes and crops a picture to
    values in [0, 1], where augmentation and Fourier views work, before `normalize`.
    """

    name: str  # "embedded", a hub id, or the directory as the user gave it
    image: Tower
    text: Tower
    tokenize: Callable[[Sequence[str]], Int[Tensor, "batch length"]]
    pixels: Callable[[Image.Image], Float[Tensor, "3 size size"]]
    size: int
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    logit_scale: float = 100.0  # multiplies the cosine. A bias, as SigLIP has one, cancels in a softmax over classes
    preprocessing: dict[str, Any] = field(default_factory=dict)  # how `pixels` works, in words that JSON can hold
    digest: str = ""  # of the weights; computed from both towers where none is given

    def __post_init__(self) -> None:
        if self.image.features != self.text.features:
            raise ValueError(
                f"{self.name}: the image tower gives {self.image.features} features and the text tower "
                f"{self.text.features}; both must give the same number"
            )
        for tower in (self.image, self.text):
            tower.requires_grad_(False).eval()
        if not self.digest:
            self.digest = digest_of(
                (f"{side}.{name}", tensor)
                for side, tower in (("image", self.image), ("text", self.text))
                for name, tensor in tower.state_dict().items()
            )

    @classmethod
    def of(
        cls, name: str, image: Tower, text: Tower, preparation: Preparation, log_scale: Tensor, digest: str
    ) -> "Backbone":
        """Return two towers with what stands before them and the logarithm of their temperature's inverse."""
        return cls(
            name=name,
            image=image,
            text=text,
            tokenize=preparation.tokenize,
            pixels=preparation.pixels,
            size=preparation.size,
            mean=preparation.mean,
            std=preparation.std,
            logit_scale=log_scale.exp().item(),
            preprocessing=preparation.words(),
            digest=digest,
        )

    def normalize(self, pixels: Float[Tensor, "*batch 3 h w"]) -> Float[Tensor, "*batch 3 h w"]:
        """Return pixels in [0, 1] as the image tower wants them."""
        mean, std = (pixels.new_tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        return (pixels - mean) / std

    def preprocess(self, image: Image.Image) -> Float[Tensor, "3 size size"]:
        """Return what the image tower takes for one picture."""
        return self.normalize(self.pixels(image))

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "Backbone":
        """Move both towers and return this backbone."""
        for tower in (self.image, self.text):
            tower.to(device=device, dtype=dtype)
        return self


def load_backbone(name: str, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Backbone:
    """Return the backbone called `embedded`, saved in a directory, or published on the hub, frozen and ready.

    Only a hub id ever touches the network. Weights are read from safetensors alone, and no code that comes with a
    model is run. A hub id takes a revision after an `@`.
    """
    if name == EMBEDDED:
        return _embedded(None, name).to(device, dtype)
    directory = find_model(name)
    model_type = read_config(directory, name).get("model_type")
    if model_type not in [*FAMILIES, EMBEDDED_TYPE]:
        raise UserError(_unknown_type(name, model_type))
    check_files(directory, name)
    if model_type == EMBEDDED_TYPE:
        return _embedded(directory, name).to(device, dtype)
    return _read_family(directory, name, str(model_type), dtype).to(device)


def digest_of(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Return the sha256 over names, dtypes, shapes and bytes, in the order of the names."""
    sha = hashlib.sha256()
    for name, tensor in sorted(tensors, key=lambda pair: pair[0]):
        _add(sha, name, tensor)
    return sha.hexdigest()


def digest_of_files(paths: Iterable[Path]) -> str:
    """Return `digest_of` the tensors in safetensors files, one in memory at a time."""
    where = {}
    for path in paths:
        with safe_open(path, framework="pt") as weights:
            where.update(dict.fromkeys(weights.keys(), path))
    sha = hashlib.sha256()
    for name in sorted(where):
        with safe_open(where[name], framework="pt") as weights:
            _add(sha, name, weights.get_tensor(name))
    return sha.hexdigest()


def weight_files(directory: Path) -> list[Path]:
    """Return the safetensors files that hold a saved model's weights, or none."""
    index, single = directory / "model.safetensors.index.json", directory / "model.safetensors"
    if index.is_file():
        return [directory / shard for shard in sorted(set(json.loads(index.read_text())["weight_map"].values()))]
    return [single] if single.is_file() else []


def _add(sha: Any, name: str, tensor: Tensor) -> None:
    sha.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
    sha.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)


def _embedded(directory: Path | None, name: str) -> Backbone:
    from overtone.models.dual_encoder import load_embedded  # it builds a Backbone: imported late, not in a circle

    return load_embedded() if directory is None else replace(load_embedded(directory), name=name)


# Where a name leads


def find_model(name: str) -> Path:
    """Return the directory that a name stands for, after downloading it where it is a hub id.

    The folder of a finished run of `pretrain` stands for the model in it.
    """
    home = os.path.expanduser(name)  # noqa: PTH111 - unlike Path's, os.path's questions raise on no name at all
    if os.path.isfile(os.path.join(home, ADAPTER)):  # noqa: PTH113, PTH118
        raise UserError(
            f"model {name!r}: this is the run folder of an adapter. Name the model that it was fitted to, which its "
            f"{ADAPTER} tells."
        )
    if os.path.isdir(home):  # noqa: PTH112
        return Path(home) / PRETRAINED if (Path(home) / PRETRAINING).is_file() else Path(home)
    if HUB_ID.fullmatch(name) and not name.startswith("."):
        return _download(name)
    if os.path.isfile(home):  # noqa: PTH113
        raise UserError(f"model {name!r}: this is a file. Name the directory that holds it.")
    raise UserError(
        f"model {name!r}: there is no such directory, and it is not a hub id such as openai/clip-vit-base-patch16."
        f"{did_you_mean(name, [EMBEDDED, *_directories_beside(Path(home))])} {ELSEWHERE}"
    )


def _directories_beside(path: Path) -> list[str]:
    try:
        return [str(other) for other in path.parent.iterdir() if other.is_dir()]
    except OSError:
        return []


def _download(name: str) -> Path:
    """Return the hub's snapshot of `owner/name` or `owner/name@revision`, from the cache where the hub is away."""
    repository, _, revision = name.partition("@")
    cached_only = not hub_answers()
    try:
        return Path(
            snapshot_download(
                repository, revision=revision or None, allow_patterns=HUB_FILES, local_files_only=cached_only
            )
        )
    except GatedRepoError as error:
        raise UserError(f"model {name!r}: this hub model is gated. Ask for access on its page, then log in.") from error
    except RepositoryNotFoundError as error:
        raise UserError(f"model {name!r}: neither a local directory nor a model on the hub. {ELSEWHERE}") from error
    except RevisionNotFoundError as error:
        raise UserError(f"model {name!r}: {repository} is on the hub but has no revision {revision!r}.") from error
    except (OSError, ValueError, HfHubHTTPError) as error:
        reason = "it cannot be reached, and the model is not in the cache" if cached_only else str(error)
        raise UserError(
            f"model {name!r}: neither a local directory nor to be had from the hub ({reason}). {ELSEWHERE}"
        ) from error


# What a directory holds


def read_config(directory: Path, name: str) -> dict[str, Any]:
    """Return what a directory's config.json holds; UserError where there is none, or no object in it."""
    path = directory / "config.json"
    if not path.is_file():
        raise UserError(
            f"model {name!r}: no config.json in this directory, {_found(directory)}. "
            "Name the directory that save_pretrained wrote."
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"model {name!r}: its config.json is not JSON ({error}). Save the model again.") from error
    if not isinstance(config, dict):
        raise UserError(f"model {name!r}: its config.json holds no object. Save the model again.")
    return config


def _found(directory: Path) -> str:
    names = sorted(path.name for path in directory.iterdir())
    return f"which holds {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}" if names else "which is empty"


def _unknown_type(name: str, model_type: object) -> str:
    hint = ""
    if model_type == "siglip2":
        hint = " (of SigLIP 2, the fixed-resolution models have the type siglip and work)"
    supported = ", ".join([*FAMILIES, EMBEDDED_TYPE])
    return f"model {name!r}: model_type is {model_type!r}; supported are {supported}{hint}. {WRAPPING}"


def _read_family(directory: Path, name: str, model_type: str, dtype: torch.dtype) -> Backbone:
    model_class, image_tower, text_tower = FAMILIES[model_type]
    config = model_class.config_class.from_pretrained(directory)
    length, size = config.text_config.max_position_embeddings, config.vision_config.image_size
    preparation = read_preparation(directory, name, model_type, length, size)
    model = read_model(model_class, directory, name, dtype)
    digest = digest_of_files(weight_files(directory))
    return Backbone.of(name, image_tower(model), text_tower(model), preparation, model.logit_scale, digest)


def check_files(directory: Path, name: str, tokenizer: bool = True) -> None:
    """Refuse a directory without safetensors or `tokenizer`, before anything is read from it."""
    files = weight_files(directory)
    missing = [path.name for path in files if not path.is_file()]
    if missing:
        raise UserError(f"model {name!r}: the weights are incomplete, {missing[0]} is missing. Copy the model again.")
    if not files:
        raise UserError(
            f"model {name!r}: no model.safetensors, only {_found(directory).removeprefix('which holds ')}. Pickled "
            "weights (.bin, .pt) are never opened: convert them at https://huggingface.co/spaces/safetensors/convert; "
            "its pull request N can be named as owner/name@refs/pr/N."
        )
    # transformers would go on with an empty vocabulary
    if tokenizer and not any((directory / file).is_file() for file in TOKENIZER_FILES):
        raise UserError(
            f"model {name!r}: the tokenizer is missing, none of {', '.join(TOKENIZER_FILES)} is there. "
            "Save it into the same directory with tokenizer.save_pretrained."
        )


def read_model(model_class: Any, directory: Path, name: str, dtype: torch.dtype | str, **options: Any) -> Any:
    """Read a model of transformers whole, with options of its class; UserError where tensors are missing or misfit."""
    options |= {"local_files_only": True, "use_safetensors": True, "dtype": dtype, "output_loading_info": True}
    try:
        model, found = model_class.from_pretrained(directory, **options)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(f"model {name!r}: the weights cannot be read ({error}). Copy the model again.") from error
    if found["missing_keys"]:  # transformers would go on with random numbers in their place
        first = sorted(found["missing_keys"])[0]
        raise UserError(
            f"model {name!r}: {len(found['missing_keys'])} tensors are missing from its weights, {first} among them. "
            "Copy the model again."
        )
    return model
