"""Where files are kept, and writing them so that a reader never meets half of one."""

import os
import secrets
from pathlib import Path


def user_cache() -> Path:
    """Return `overtone` in the user's cache: below XDG_CACHE_HOME, else ~/.cache. It need not be there."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "overtone"


def reserve(file: int, size: int) -> None:
    """Let an open file have `size` bytes on the disk, where the system can: OSError for a full disk.

    A full disk that is met while writing to a file's mapped pages is a crash instead.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, max(1, size))


def write_atomically(path: Path | str, data: str | bytes) -> Path:
    """Write ``data`` beside ``path``, move it in and return ``path``; a failure leaves nothing and raises ``OSError``.

    Text is UTF-8; what UTF-8 cannot hold (the odd bytes of a file name) is written as a backslash escape.
    """
    path = Path(path)
    content = data.encode("utf-8", "backslashreplace") if isinstance(data, str) else data
    # A short name of its own: the final name plus a suffix could be longer than the file system allows.
    beside = path.parent / f".overtone-{secrets.token_hex(8)}.tmp"
    try:
        with beside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # a full disk is sometimes noticed only here
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return path
