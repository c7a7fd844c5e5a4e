"""What an adapter is fitted with: where its batches come from, the loss as the Trainer wants it, the validation."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.utils.data import Dataset

from overtone.data import ImageSet
from overtone.farl.cache import NoRoomError, StateCache
from overtone.farl.model import FarlModel
from overtone.farl.states import BATCH, ImageStates, TextStates, image_states, view_states
from overtone.farl.views import Views
from overtone.models.backbone import Backbone

MOST_VALIDATION = 512  # pictures
VIEWS = 4  # random views of each training picture; their frozen states are computed once


class Source:
    """Where training gets the frozen states of a view: from the cache, or computed on the spot."""

    def __init__(self, backbone: Backbone, views: Views, streams: bool, device: str, cached: bool) -> None:
        """Fill the cache where there is to be one; where it has no room, `notes` says so and there is none."""
        self.backbone, self.views, self.streams, self.device = backbone, views, streams, device
        self.notes: list[str] = []
        self.cache: StateCache | None = None
        try:
            if cached:
                self.cache = StateCache(backbone, views, VIEWS, streams, device)
        except NoRoomError as error:
            self.notes.append(str(error))

    def batch(self, rows: Sequence[int], views: Sequence[int]) -> ImageStates:
        if self.cache is not None:
            return self.cache.batch(rows, views)
        return ImageStates.joined(view_states(self.backbone, self.views, rows, views, self.streams, self.device))

    def passes(self, count: int, views: int = VIEWS) -> Iterator[tuple[range, ImageStates]]:
        """Yield the states of the first views of all pictures, with the pictures' numbers."""
        for view in range(views):
            for start in range(0, count, BATCH):
                rows = range(start, min(start + BATCH, count))
                yield rows, self.batch(rows, [view] * len(rows))

    def close(self) -> list[str]:
        """Let the cache finish, and return what there is to say."""
        if self.cache is not None:
            self.cache.close()
            self.notes += [self.cache.note] if self.cache.note else []
        return self.notes


class Rows(Dataset):
    """The numbers of the training pictures."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, row: int) -> int:
        return row


class Objective(nn.Module):
    """The model's loss on a random view of each picture against all classes, as the Trainer wants it."""

    def __init__(self, model: FarlModel, texts: TextStates, source: Source, labels: Tensor) -> None:
        super().__init__()
        self.model, self.texts, self.source, self.labels = model, texts, source, labels

    def forward(self, rows: Int[Tensor, " batch"]) -> dict[str, Tensor]:
        # Views are drawn at the step: batches are made ahead of it, and so would be the generator in a checkpoint.
        pictures, views = rows.tolist(), torch.randint(VIEWS, (len(rows),)).tolist()
        with torch.autocast(rows.device.type, enabled=False):
            images = self.source.batch(pictures, views)
        return self.model(images.to(rows.device), self.texts, self.labels[pictures].to(rows.device))


class Validation:
    """The accuracy on pictures that are not learned from, at most MOST_VALIDATION of them, as training stands."""

    def __init__(self, model: FarlModel, source: Source, count: int, texts: TextStates, validation: ImageSet) -> None:
        self.model, self.source, self.count, self.texts = model, source, count, texts
        chosen = torch.linspace(0, len(validation) - 1, min(len(validation), MOST_VALIDATION)).long()
        images = validation.select(chosen.tolist())
        streams = model.config.injection == "by_depth"
        backbone, device = source.backbone, source.device
        self.batches: list[tuple[ImageStates, Tensor]] = []
        for start in range(0, len(images), BATCH):
            records = images.records[start : start + BATCH]
            pixels = torch.stack([backbone.pixels(record.open()) for record in records]).to(device)
            labels = torch.tensor([record.label for record in records], device=device)
            self.batches.append((image_states(backbone, pixels, streams, frozen=False), labels))

    @torch.no_grad()
    def __call__(self) -> dict[str, float]:
        """Return the accuracy; the Trainer sets the model to training again by itself."""
        model = self.model.eval()
        average_streams(model, self.source, self.count, views=1)
        w = model.with_prototypes(model.text_features(self.texts, model.mean_streams))
        right = total = 0
        for states, labels in self.batches:
            logits = model.logits(*model.image_features(states, model.read(states)), w, seen=True)
            right, total = right + int((logits.argmax(dim=1) == labels).sum()), total + len(labels)
        return {"validation_accuracy": right / total}


@torch.no_grad()
def average_pictures(model: FarlModel, source: Source, labels: Tensor) -> None:
    """Freeze each class's prototype, the mean over its pictures' views, into the model."""
    if model.prototypes is None:
        return
    total = torch.zeros_like(model.prototypes)
    for rows, states in source.passes(len(labels)):
        assert states.frozen is not None
        total.index_add_(0, labels[list(rows)].to(total.device), states.frozen.to(total.device))
    model.prototypes.copy_(normalize(total, dim=-1))


@torch.no_grad()
def average_streams(model: FarlModel, source: Source, count: int, views: int = VIEWS) -> None:
    """Freeze the training set's mean structure and style tokens into the model."""
    if not model.uses_streams:
        return
    structure, style = torch.zeros_like(model.mean_structure), torch.zeros_like(model.mean_style)
    for _, states in source.passes(count, views):
        streams = model.read(states.to(structure.device))
        assert streams is not None
        structure += streams[0].sum(dim=0)
        style += streams[1].sum(dim=0)
    model.mean_structure.copy_(structure / (views * count))
    model.mean_style.copy_(style / (views * count))
