"""The frozen states of all views of all training pictures."""

import hashlib
import json
import tempfile
from collections.abc import Sequence

import kornia
import torch
from torch import Tensor

import overtone
from overtone.farl.injection import first_layer
from overtone.farl.reuse import Draft, begin, find
from overtone.farl.states import BATCH, ImageStates, view_states
from overtone.farl.views import CROP, Views
from overtone.files import reserve
from overtone.models.backbone import Backbone

MEMORY = 2 * 2**30  # bytes of cached states that stay in memory; more go to a file that is mapped


class NoRoomError(Exception):
    """The states fit neither in memory nor on the disk."""


class StateCache:
    """The states of every view of every picture, filled once, and found again by the next run on the same pictures.

    They stand in a mapped file of the user's cache. Where that cannot be, `note` says why, and they stay in memory, or
    in a mapped file without a name if they would not fit. Raises NoRoomError where that does not fit either.
    """

    def __init__(self, backbone: Backbone, views: Views, count: int, streams: bool, device: torch.device | str) -> None:
        self.count = count
        self.draft: Draft | None = None
        self.note: str | None = None
        key = _key(backbone, views, count, streams, device)
        found = find(key)
        self.states = self._fill(backbone, views, streams, device, key) if found is None else ImageStates(**found)

    def _fill(
        self, backbone: Backbone, views: Views, streams: bool, device: torch.device | str, key: str
    ) -> ImageStates:
        rows = len(views.pixels) * self.count
        pictures, numbers = [i // self.count for i in range(rows)], [i % self.count for i in range(rows)]
        rooms: dict[str, Tensor] = {}
        start = 0
        try:
            for states in view_states(backbone, views, pictures, numbers, streams, device):
                rooms = rooms or self._rooms(rows, states.tensors, key)
                for name, part in states.tensors.items():
                    rooms[name][start : start + len(part)] = part.cpu()
                start += len(states)
        except BaseException:
            if self.draft:
                self.draft.discard()
            raise
        if self.draft:
            self.draft.publish()
        return ImageStates(**rooms)

    def _rooms(self, rows: int, like: dict[str, Tensor], key: str) -> dict[str, Tensor]:
        shapes = {name: ((rows, *t.shape[1:]), t.dtype) for name, t in like.items()}
        self.draft, self.note = begin(key, shapes)
        if self.draft:
            return self.draft.tensors
        size = rows * sum(t[0].nbytes for t in like.values())
        try:
            return {name: _room(rows, t, size > MEMORY) for name, t in like.items()}
        except OSError as error:
            raise NoRoomError(
                f"The frozen states take {size / 2**30:.1f} GiB, and {tempfile.gettempdir()} has no room for them "
                f"({error.strerror or error}): they are computed anew at every step, which is slow. TMPDIR can name "
                "another folder."
            ) from error

    def close(self) -> None:
        """Wait until the file is safe on the disk."""
        if self.draft:
            self.note = self.draft.wait()

    def batch(self, pictures: Sequence[int], views: Sequence[int]) -> ImageStates:
        """Return the states of the given view of each picture."""
        return self.states[torch.tensor(pictures) * self.count + torch.tensor(views)]


def _key(backbone: Backbone, views: Views, count: int, streams: bool, device: torch.device | str) -> str:
    """Return a digest of all that the states follow from: pictures, backbone, views, and what computes them."""
    said = {
        "backbone": backbone.digest,
        "first": first_layer(backbone.image.depth),
        "dtype": str(next(backbone.image.parameters()).dtype),
        "normalised": [backbone.mean, backbone.std],
        "views": [count, views.seed, views.amplitude, CROP, BATCH],
        "streams": streams,
        "computed by": [torch.device(device).type, torch.__version__, kornia.__version__, overtone.__version__],
    }
    sha = hashlib.sha256(json.dumps(said).encode())
    for row in range(len(views.pixels)):  # as the backbone takes them: how they were resized counts too
        sha.update(views.pixels[row].contiguous().numpy().data)
    return sha.hexdigest()


def _room(rows: int, like: Tensor, on_disk: bool) -> Tensor:
    shape = (rows, *like.shape[1:])
    if not on_disk:
        return torch.empty(shape, dtype=like.dtype)
    with tempfile.NamedTemporaryFile(prefix="overtone-") as file:  # unlinked at once; the mapping keeps it alive
        size = torch.Size(shape).numel()
        reserve(file.fileno(), size * like.element_size())
        return torch.from_file(file.name, shared=True, size=size, dtype=like.dtype).view(shape)
