"""Folders that a task writes into: seen to be writable before the long work, and taken away when it comes to nothing."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from overtone.errors import UserError


@contextlib.contextmanager
def writable(folder: Path, kept: str = "*") -> Iterator[None]:
    """Make `folder`; when the work in it fails, take away what was made, unless `kept` matches something in it.

    Raises UserError when nothing can be written there.
    """
    made = _make(folder)
    try:
        yield
    except BaseException:
        if made and next(folder.glob(kept), None) is None:
            shutil.rmtree(made, ignore_errors=True)
        raise


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
            shutil.rmtree(made, ignore_errors=True)
        raise UserError(
            f"--out {str(folder)!r} cannot be written: {error.strerror}. Name another folder with --out."
        ) from error
    return made
