"""The adapter: what a user fits, saves, loads and asks."""

import json
import platform
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
import transformers
from jaxtyping import Float
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

import overtone
from overtone.data import BadImage, ImageSet, Record, open_image
from overtone.data.folders import neighbours
from overtone.data.names import same_names
from overtone.errors import UserError, did_you_mean
from overtone.farl.fitting import VIEWS, Objective, Rows, Source, Validation, average_pictures, average_streams
from overtone.farl.model import FarlConfig, FarlModel
from overtone.farl.recipes import recipe_for
from overtone.farl.states import BATCH, image_states, text_states
from overtone.farl.views import Pixels, Views
from overtone.files import write_atomically
from overtone.models.backbone import EMBEDDED, Backbone, load_backbone
from overtone.progress import shown
from overtone.training import TrainingConfig, train

WEIGHTS, DESCRIPTION = "adapter.safetensors", "adapter.json"
FORMAT = 1
MADE = ("training", "views", "amplitude_mix", "pictures", "versions")  # how an adapter came to be
FIELDS = ("format", "backbone", "backbone_digest", "preprocessing", "templates", "classes", "method", *MADE)
CLASSES = 1024  # class names whose states are held at a time
Picture = Record | Image.Image | str | Path


@dataclass(frozen=True)
class ImageFeatures:
    """Unit embeddings of pictures: the adapted class and token features, and the unadapted tower's if asked for."""

    f_c: Float[Tensor, "images features"]
    f_r: Float[Tensor, "images features"]
    frozen: Float[Tensor, "images features"] | None = None

    def __len__(self) -> int:
        return len(self.f_c)


def default_templates(model: str) -> tuple[str, ...]:
    """Return how class names are put into words: as they are for the embedded model, CoOp's sentence for any other."""
    return ("{}",) if model == EMBEDDED else ("a photo of a {}.",)


class Adapter:
    """A frozen backbone with what it learned of a user's classes.

    It classifies pictures among the classes it saw or among names it never saw, and its towers embed for retrieval.
    """

    def __init__(
        self,
        backbone: Backbone,
        model: FarlModel,
        classes: Sequence[str],
        templates: Sequence[str],
        made: dict[str, Any],
    ) -> None:
        self.backbone, self.model = backbone, model
        self.classes, self.templates = tuple(classes), tuple(templates)
        self.made = made  # how it came to be: training settings, seed, versions
        self.log: list[dict[str, Any]] = []  # of the training: loss, learning rate and epoch, a record a logged step
        self.notes: list[str] = []  # what a user should know of the training
        self._texts: dict[tuple[tuple[str, ...], ...], tuple[Tensor, Tensor]] = {}

    @property
    def device(self) -> torch.device:
        """Where the adapter runs."""
        return self.model.tokens.R.device

    @classmethod
    def fit(
        cls,
        train_set: ImageSet,
        backbone: str | Backbone = EMBEDDED,
        method: FarlConfig | None = None,
        training: TrainingConfig | None = None,
        templates: Sequence[str] | None = None,
        amplitude_mix: bool = False,
        checkpoints: Path | None = None,
        resume: bool = False,
        cached: bool = True,
        validation: ImageSet | None = None,
    ) -> "Adapter":
        """Adapt a backbone to the pictures and classes of `train_set`.

        With `checkpoints`, an interrupted run goes on from there when `resume` is set. `cached=False` computes the
        frozen states anew at every step: the same result, slowly. With `validation`, pictures of the same classes, the
        log has the accuracy on them after every epoch; nothing is chosen by it. Settings not given are the recipe's for
        this backbone.
        """
        if isinstance(backbone, str):
            backbone = load_backbone(backbone)
        recipe = recipe_for(backbone)
        method, training = method or recipe.method, training or recipe.training
        backbone.to(training.device)
        templates = tuple(templates or default_templates(backbone.name))
        with torch.random.fork_rng():
            torch.manual_seed(training.seed)
            model = FarlModel(backbone, method, len(train_set.classes)).to(training.device)
        pixels = Pixels(train_set.records, backbone.pixels)
        source = Source(
            backbone, Views(pixels, training.seed, amplitude_mix), model.uses_streams, training.device, cached
        )
        texts = text_states(backbone, train_set.classes, templates, training.device)
        labels = torch.tensor(train_set.labels)
        average_pictures(model, source, labels)

        measure = Validation(model, source, len(labels), texts, validation) if validation else None
        with tempfile.TemporaryDirectory() as scratch:
            folder = checkpoints or Path(scratch)
            objective = Objective(model, texts, source, labels)
            log = train(objective, Rows(len(labels)), _numbers, training, folder, resume, measure)
        model.eval()
        average_streams(model, source, len(labels))
        made = {
            "training": asdict(training),
            "views": VIEWS,
            "amplitude_mix": amplitude_mix,
            "pictures": len(train_set),
            "versions": versions(),
        }
        adapter = cls(backbone, model, train_set.classes, templates, made)
        adapter.log = log
        adapter.notes = source.close()
        return adapter

    @torch.no_grad()
    def encode_images(self, images: Iterable[Picture], frozen: bool = False) -> ImageFeatures:
        """Return the features of pictures, with `frozen` the unadapted tower's too, which cost half as much again.

        Raises BadImage, which names the picture, for one that cannot be read, and ValueError where there is none.
        """
        if isinstance(images, str | Path) or not (images := list(images)):
            raise ValueError("give pictures in a list, one or more")
        parts = []
        for start in shown(range(0, len(images), BATCH), "encoding pictures"):
            pixels = [self.backbone.pixels(_open(image)) for image in images[start : start + BATCH]]
            parts.append(self.encode_pixels(torch.stack(pixels), frozen))
        names = [f.name for f in fields(ImageFeatures) if frozen or f.name != "frozen"]
        return ImageFeatures(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})

    @torch.no_grad()
    def encode_pixels(self, pixels: Float[Tensor, "batch 3 h w"], frozen: bool = False) -> ImageFeatures:
        """Return the features of a batch of what `backbone.pixels` made of pictures, as `encode_images` does."""
        streams = self.model.config.injection == "by_depth"
        states = image_states(self.backbone, pixels.to(self.device), streams, frozen)
        return ImageFeatures(*self.model.image_features(states, self.model.read(states)), states.frozen)

    @torch.no_grad()
    def encode_classes(
        self, classes: Sequence[str], templates: Sequence[str] | None = None
    ) -> tuple[Float[Tensor, "classes features"], Float[Tensor, "classes features"]]:
        """Return the adapted and the unadapted embedding of class names; the last ones asked for are kept.

        They are put into words by the adapter's own templates where none are given.
        """
        classes, templates = tuple(classes), tuple(templates or self.templates)
        if (classes, templates) not in self._texts:
            parts = [self._encode(classes[i : i + CLASSES], templates) for i in range(0, len(classes), CLASSES)]
            adapted, frozen = (torch.cat(column) for column in zip(*parts, strict=True))
            self._texts = {(classes, templates): (adapted, frozen)}
        return self._texts[classes, templates]

    def _encode(self, classes: Sequence[str], templates: Sequence[str]) -> tuple[Tensor, Tensor]:
        states = text_states(self.backbone, classes, templates, self.device)
        return self.model.text_features(states, self.model.mean_streams), states.frozen

    def probabilities(
        self, features: ImageFeatures, classes: Sequence[str] | None = None, templates: Sequence[str] | None = None
    ) -> Float[Tensor, "images classes"]:
        """Return the adapted probabilities over the classes adapted to, or over any names."""
        w, seen = self.class_weights(self.classes if classes is None else classes, templates)
        return self.model.logits(features.f_c, features.f_r, w, seen).softmax(dim=-1)

    def class_weights(
        self, classes: Sequence[str], templates: Sequence[str] | None = None
    ) -> tuple[Float[Tensor, "classes features"], bool]:
        """Return what pictures are compared with, and whether all classes were adapted to.

        Only then their prototypes are in it: beside a class that has none they would tip the scales. A name is known
        whatever its case, and with _ or - for spaces.
        """
        classes = same_names(classes, self.classes)
        w, _ = self.encode_classes(classes, templates)
        number = {name: i for i, name in enumerate(self.classes)}
        seen = set(classes) <= set(number)
        return self.model.with_prototypes(w, [number[name] for name in classes]) if seen else w, seen

    def zero_shot(
        self, features: ImageFeatures, classes: Sequence[str] | None = None
    ) -> Float[Tensor, "images classes"]:
        """Return the probabilities that the backbone gives without the adapter.

        Raises ValueError for features without the backbone's own.
        """
        if features.frozen is None:
            raise ValueError("features lack the backbone's own: encode the pictures with frozen=True")
        _, w = self.encode_classes(self.classes if classes is None else classes)
        return (self.backbone.logit_scale * features.frozen @ w.T).softmax(dim=-1)

    def predict(
        self, images: Iterable[Picture], classes: Sequence[str] | None = None
    ) -> Float[Tensor, "images classes"]:
        """Return probabilities for pictures, over the classes adapted to or over any names, never seen ones too."""
        return self.probabilities(self.encode_images(images), classes)

    def embed_images(self, images: Iterable[Picture]) -> Float[Tensor, "images features"]:
        """Return unit embeddings of pictures in the adapted space, for retrieval."""
        return self.encode_images(images).f_c

    def embed_texts(self, texts: Sequence[str]) -> Float[Tensor, "texts features"]:
        """Return unit embeddings of texts, as they are, in the adapted space, for retrieval."""
        return self.encode_classes(texts, ("{}",))[0]

    def describe(self) -> dict[str, Any]:
        """Return all that stands in the adapter's JSON."""
        return {
            "format": FORMAT,
            "backbone": self.backbone.name,
            "backbone_digest": self.backbone.digest,
            "preprocessing": self.backbone.preprocessing,
            "templates": list(self.templates),
            "classes": list(self.classes),
            "method": asdict(self.model.config),
            **self.made,
        }

    def save(self, folder: str | Path) -> Path:
        """Write the adapter into `folder`, the JSON last, and return the folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in self.model.state_dict().items()}
        write_atomically(folder / WEIGHTS, save(state))
        write_atomically(folder / DESCRIPTION, json.dumps(self.describe(), indent=2, ensure_ascii=False) + "\n")
        return folder

    @classmethod
    def load(cls, folder: str | Path, model: str | Backbone | None = None, device: str = "cpu") -> "Adapter":
        """Read an adapter that `save` wrote, and its backbone.

        `model` names where that is now, if it moved, or is the backbone itself, as a pair of wrapped towers must be.
        Raises UserError when the folder holds no adapter, or the backbone is not the one it was fitted to.
        """
        described, state = _read(Path(folder))
        if isinstance(model, Backbone):
            backbone = model.to(device)
        else:
            backbone = load_backbone(model or described["backbone"], device)
        if backbone.digest != described["backbone_digest"]:
            raise UserError(
                f"{folder}: this adapter was fitted to {described['backbone']!r} with weights "
                f"{described['backbone_digest'][:12]}, but {backbone.name!r} has {backbone.digest[:12]}. "
                "Name the right one with --model, or adapt again."
            )
        try:
            farl = FarlModel(backbone, FarlConfig(**described["method"]), len(described["classes"])).to(device)
            farl.load_state_dict(state)
        except (TypeError, ValueError, RuntimeError) as error:
            raise _unreadable(folder, error) from error
        made = {key: described[key] for key in MADE}
        return cls(backbone, farl.eval(), described["classes"], described["templates"], made)


def versions() -> dict[str, str]:
    """Return the versions that a result may depend on."""
    return {
        "overtone": overtone.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def _numbers(rows: list[int]) -> dict[str, Tensor]:
    return {"rows": torch.tensor(rows)}


def _open(image: Picture) -> Image.Image:
    try:
        return image.open() if isinstance(image, Record) else open_image(image)
    except BadImage as error:
        place = image.source if isinstance(image, Record) else image
        raise BadImage(f"{str(place)!r}: {error}") from error


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not (folder / DESCRIPTION).is_file():
        what = "is no folder" if not folder.is_dir() else f"holds no {DESCRIPTION}"
        near = did_you_mean(str(folder), (name for name in neighbours(folder) if Path(name).is_dir()))
        raise UserError(f"{folder} {what}.{near} Name the folder that `overtone adapt` wrote (its --out).")
    try:
        described = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        state = load_file(folder / WEIGHTS)
    except (ValueError, OSError, SafetensorError) as error:
        raise _unreadable(folder, error) from error
    missing = [name for name in FIELDS if not isinstance(described, dict) or name not in described]
    if missing:
        raise _unreadable(folder, f"{DESCRIPTION} lacks {missing[0]!r}")
    if described["format"] != FORMAT:
        raise UserError(
            f"{folder}: adapter format {described['format']}, this Overtone reads {FORMAT}. Upgrade Overtone."
        )
    return described, state


def _unreadable(folder: str | Path, reason: object) -> UserError:
    return UserError(f"{folder}: the adapter cannot be read ({reason}). Adapt again, or copy it again whole.")
