"""Frozen states that the next run on the same pictures finds: files in the user's cache, named by what they hold.

A file appears whole, by a rename, or not at all; so two runs may work on the same pictures at once. The folder is
bounded: what was not used for longest goes first.
"""

import contextlib
import json
import os
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from overtone.files import reserve, user_cache

MOST = 4 * 2**30  # bytes of the whole folder
STALE = 86400  # seconds after which a file that was never finished belongs to a run that is gone
DTYPES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
Shapes = Mapping[str, tuple[Sequence[int], torch.dtype]]


def folder() -> Path | None:
    """Return where the states are kept: $OVERTONE_CACHE, or `overtone` in the user's cache; None if it is set empty."""
    named = os.environ.get("OVERTONE_CACHE")
    if named is not None:
        return Path(named) / "states" if named else None
    return user_cache() / "states"


def find(key: str) -> dict[str, Tensor] | None:
    """Return the tensors kept under `key`, mapped into memory, or None; a damaged file is removed."""
    home = folder()
    if home is None:
        return None
    path = home / f"{key}.safetensors"
    try:
        tensors = load_file(path)
        os.utime(path)
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError):
        with contextlib.suppress(OSError):
            path.unlink()
        return None
    return tensors


def begin(key: str, shapes: Shapes) -> "tuple[Draft | None, str | None]":
    """Return a file to fill for `key`, or None and a line that says why nothing will be kept."""
    home = folder()
    if home is None:
        return None, None
    size = sum(prod(shape) * dtype.itemsize for shape, dtype in shapes.values())
    if size > MOST:
        return None, (
            f"The frozen states take {size / 2**30:.1f} GiB, more than the {MOST / 2**30:.0f} GiB that are kept from "
            "run to run: the next run on these pictures computes them again."
        )
    try:
        home.mkdir(parents=True, exist_ok=True)
        make_room(home, size)
        return Draft(home / f"{key}.safetensors", shapes), None
    except OSError as error:
        return None, _not_kept(error)


def make_room(home: Path, size: int) -> None:
    """Remove what was used longest ago until `size` more bytes fit, and what runs that are gone left behind."""
    files = []
    for path in home.iterdir():
        with contextlib.suppress(OSError):  # another run may have removed it
            state = path.stat()
            if path.suffix == ".tmp" and time.time() - state.st_mtime > STALE:
                path.unlink()
            else:
                files.append((state.st_mtime, state.st_size, path))
    total = size + sum(held for _, held, _ in files)
    for _, held, path in sorted(files):
        if total <= MOST:
            return
        if path.suffix == ".safetensors":
            with contextlib.suppress(OSError):
                path.unlink()
                total -= held


class Draft:
    """A safetensors file that is being filled; its tensors are the file's pages."""

    def __init__(self, path: Path, shapes: Shapes) -> None:
        """Make the file at its full size under a name of its own. Raises OSError, also for a full disk."""
        self.path = path
        self.beside = path.parent / f".overtone-{secrets.token_hex(8)}.tmp"
        self.tensors: dict[str, Tensor] = {}
        self._thread: threading.Thread | None = None
        self._note: str | None = None
        header, places, size = _header(shapes)
        try:
            with self.beside.open("xb+") as file:
                reserve(file.fileno(), len(header) + size)
                file.truncate(len(header) + size)
                file.write(header)
            pages = np.memmap(self.beside, dtype=np.uint8, mode="r+", offset=0)
        except BaseException:
            self.discard()
            raise
        for name, (shape, dtype) in shapes.items():
            start = len(header) + places[name]
            part = pages[start : start + prod(shape) * dtype.itemsize]
            self.tensors[name] = torch.from_numpy(part).view(dtype).view(*shape)

    def publish(self) -> None:
        """Give the file its name once the disk has it all; training goes on meanwhile."""
        self._thread = threading.Thread(target=self._publish, name="keep frozen states")
        self._thread.start()

    def wait(self) -> str | None:
        """Wait for that, and return a line where it failed."""
        if self._thread:
            self._thread.join()
        return self._note

    def discard(self) -> None:
        """Remove the file."""
        with contextlib.suppress(OSError):
            self.beside.unlink()

    def _publish(self) -> None:
        try:
            with self.beside.open("rb+") as file:
                os.fsync(file.fileno())  # without it, a machine that stops now would keep a whole file of empty pages
            self.beside.replace(self.path)
        except OSError as error:
            self._note = _not_kept(error)
            self.discard()


def _header(shapes: Shapes) -> tuple[bytes, dict[str, int], int]:
    """Return a safetensors header, where each tensor starts behind it, and the bytes of all."""
    said, places, size = {}, {}, 0
    for name, (shape, dtype) in shapes.items():
        places[name] = size
        size += prod(shape) * dtype.itemsize
        said[name] = {"dtype": DTYPES[dtype], "shape": list(shape), "data_offsets": [places[name], size]}
    text = json.dumps(said).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, places, size


def _not_kept(error: OSError) -> str:
    return f"The frozen states could not be kept for the next run ({error.strerror or error}); this one is as it was."
