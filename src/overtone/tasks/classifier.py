"""A trained network with all that stands around it: classes, framing, scale; what `train` leaves and others load."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot
from transformers import AutoModelForImageClassification, PreTrainedModel

import overtone.models  # noqa: F401  tells transformers' Auto classes of our networks
from overtone.data.augment import Augmentation, erased, mixed
from overtone.data.pixels import BATCH, Framing, Normalise, Pixels
from overtone.errors import UserError
from overtone.files import write_atomically
from overtone.models.backbone import read_model
from overtone.models.drop_in import is_swapped, load_swapped
from overtone.processes import process_number, processes
from overtone.tasks.runs import FINISHED, read_description
from overtone.training import undecayed

NETWORK = "model"
FORMAT = 1
RANKED = 5  # most probable classes that are kept of each picture


@dataclass(frozen=True)
class Ranking:
    """What a classifier makes of a set of pictures."""

    classes: Int[Tensor, "pictures ranks"]  # the most probable first
    probability: Float[Tensor, " pictures"]  # of the first


class Classifier:
    """A network that tells classes apart, from pictures of any size."""

    def __init__(
        self,
        network: PreTrainedModel,
        classes: Sequence[str],
        framing: Framing,
        normalise: Normalise,
        made: dict[str, Any] | None = None,
    ) -> None:
        """Raise ValueError for a network of another number of channels or classes."""
        for what, given, expected in (
            ("num_channels", network.config.num_channels, framing.channels),
            ("num_labels", network.config.num_labels, len(classes)),
        ):
            if given != expected:
                raise ValueError(f"the network's {what} is {given}, and the data asks for {expected}")
        self.network, self.classes, self.framing, self.normalise = network, tuple(classes), framing, normalise
        self.made = made or {}

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.network.device

    def to(self, device: torch.device | str) -> "Classifier":
        """Move the network and return this classifier."""
        module: nn.Module = self.network
        module.to(device)
        self.normalise.to(device)
        return self

    def pixels(self, image: Image.Image) -> UInt8[Tensor, "channels size size"]:
        """Return what the network sees of one picture."""
        return self.framing.middle(torch.from_numpy(self.framing.square(image).copy()))

    @torch.no_grad()
    def probabilities(self, pixels: UInt8[Tensor, "batch channels size size"]) -> Float[Tensor, "batch classes"]:
        """Return the probability of each class."""
        self.network.eval()
        return self.network(pixel_values=self.normalise(pixels.to(self.device))).logits.float().softmax(dim=-1)

    def rank(self, pixels: Pixels) -> Ranking:
        """Return the most probable classes of every picture; under torchrun each process does its part of them."""
        ranks = min(RANKED, len(self.classes))
        classes = torch.zeros(len(pixels), ranks, dtype=torch.long, device=self.device)
        probability = torch.zeros(len(pixels), device=self.device)
        for rows in torch.arange(process_number(), len(pixels), processes()).split(BATCH):
            if not len(rows):  # there are fewer pictures than processes
                continue
            seen = self.framing.middle(pixels.squares(rows))
            best = self.probabilities(seen).topk(ranks)
            classes[rows], probability[rows] = best.indices, best.values[:, 0]
        if processes() > 1:
            torch.distributed.all_reduce(classes)  # each row is zero but where it was computed
            torch.distributed.all_reduce(probability)
        return Ranking(classes.cpu(), probability.cpu())

    def accuracy(self, pixels: Pixels) -> float:
        """Return the share of pictures whose most probable class is theirs."""
        return (self.rank(pixels).classes[:, 0] == pixels.labels).double().mean().item()

    def save(self, folder: Path) -> None:
        """Write the network as transformers does, below `folder`, and last its description."""
        self.network.config.id2label = dict(enumerate(self.classes))
        self.network.config.label2id = {name: i for i, name in enumerate(self.classes)}
        self.network.save_pretrained(folder / NETWORK)
        described = {
            "format": FORMAT,
            "classes": list(self.classes),
            "framing": asdict(self.framing),
            "mean": self.normalise.mean.flatten().tolist(),
            "deviation": self.normalise.deviation.flatten().tolist(),
            **self.made,
        }
        write_atomically(folder / FINISHED["train"], json.dumps(described, indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu") -> "Classifier":
        """Read what `save` wrote; UserError when the folder does not hold it whole."""
        folder = Path(folder)
        try:
            described = read_description(folder, "train", FORMAT)
            network = _read_network(folder / NETWORK)
            normalise = Normalise(described.pop("mean"), described.pop("deviation"))
            framing, classes = Framing(**described.pop("framing")), described.pop("classes")
            return cls(network, classes, framing, normalise, described).to(device)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            said = " ".join(str(error).split())[:200]
            raise UserError(f"{str(folder)!r} holds no whole trained network ({said}). Train again.") from error


def _read_network(folder: Path) -> PreTrainedModel:
    if is_swapped(folder):
        return load_swapped(folder)
    return read_model(AutoModelForImageClassification, folder, str(folder), "auto")


class Objective(nn.Module):
    """A network with its loss: what a step of training computes from bytes."""

    def __init__(self, classifier: Classifier, augmentation: Augmentation, smoothing: float) -> None:
        """Take label smoothing in [0, 1): its share of each target is spread over all classes (Szegedy et al. 2016)."""
        super().__init__()
        self.network, self.normalise = classifier.network, classifier.normalise
        self.classes, self.augmentation, self.smoothing = len(classifier.classes), augmentation, smoothing

    def forward(
        self,
        pixels: UInt8[Tensor, "batch channels size size"],
        labels: Int[Tensor, " batch"],
        uniform: Float[Tensor, "batch 8"],
        mix: Float[Tensor, " batch"],
    ) -> dict[str, Tensor]:
        """Return the mean cross-entropy of views that `overtone.data.pixels.Views` cut."""
        x, targets = self.normalise(pixels), one_hot(labels, self.classes).float()
        if self.augmentation.erase:
            x = erased(x, uniform, self.augmentation.erase)
        if self.augmentation.mix:
            x, targets = mixed(x, targets, mix)
        logits = self.network(pixel_values=x).logits.float()
        return {"loss": cross_entropy(logits, targets, label_smoothing=self.smoothing)}

    def undecayed(self) -> frozenset[str]:
        """Return the parameters that weight decay would harm: biases, norms, and what the network names."""
        return undecayed(self.network, "network.")
