"""Writing files so that a reader never meets half of one."""

import os
import secrets
from pathlib import Path


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
