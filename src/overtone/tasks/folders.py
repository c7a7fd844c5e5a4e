"""The folders that tasks write into: tried before the long work, and taken away when it comes to nothing."""

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from overtone.errors import UserError

SETTINGS = "config.json"
LEAST_ROOM = 2**20  # bytes: a disk with less is full


@contextlib.contextmanager
def writable(folder: Path, kept: str | None = None) -> Iterator[None]:
    """Make `folder`; when the work in it fails, take away what was written, unless a file matches `kept`.

    What was there before stays. Raises UserError when nothing can be written there, and OSError with ENOSPC for a full
    disk, in whatever way a writer reported it.
    """
    made = _make(folder)
    fresh = not any(folder.iterdir())
    try:
        yield
    except BaseException as error:
        full = disk_full(error, folder)  # asked before there is room again
        if fresh and not (kept and any(folder.glob(kept))):
            _take_away(folder, made)
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
        raise


def read_settings(folder: Path) -> dict[str, Any]:
    """Return the settings of the run that was begun in `folder`, or nothing."""
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return settings if isinstance(settings, dict) and "overtone" in settings else {}


def disk_full(error: BaseException, folder: Path) -> bool:
    """Return whether a full disk is what an error comes from."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    # torch's and safetensors' writers raise errors of their own, and torch's does not say why
    return "No space left" in str(error) or (
        isinstance(error, RuntimeError) and shutil.disk_usage(folder).free < LEAST_ROOM
    )


def resolved_data(data: str) -> str:
    """Return the data's full path, or its name where it is called by one, so that it is recognised from anywhere."""
    from overtone.data.loading import NAMED, is_hub_id

    return data if data in NAMED or is_hub_id(data) else str(Path(data).resolve())


def _make(folder: Path) -> Path | None:
    """Make `folder`, try it with a file, and return the topmost folder that was made."""
    made = None
    try:
        made = next((path for path in (*reversed(folder.parents), folder) if not path.exists()), None)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
    except OSError as error:
        if made:
            _take_away(folder, made)
        raise UserError(
            f"--out {str(folder)!r} cannot be written: {error.strerror}. Name another folder with --out."
        ) from error
    return made


def _take_away(folder: Path, made: Path | None) -> None:
    """Remove `folder` and, from there up to `made`, those that hold nothing; without `made`, `folder` stays, empty."""
    shutil.rmtree(folder, ignore_errors=True)
    if made is None:
        folder.mkdir(exist_ok=True)
        return
    for parent in folder.parents:
        if parent.is_relative_to(made):
            with contextlib.suppress(OSError):  # another run has begun there meanwhile
                parent.rmdir()
