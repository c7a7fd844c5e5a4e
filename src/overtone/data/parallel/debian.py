"""The built-in English-German corpus, where `tools/build_parallel.py` leaves it."""

from pathlib import Path

from overtone.data.parallel.folder import read_folder
from overtone.data.parallel.source import ParallelSource
from overtone.errors import UserError
from overtone.files import user_cache

DEBIAN = "debian-en-de"
LANGUAGES = ("de", "en")
HOW = "In Overtone's source folder, `python -m tools.build_parallel` makes it of Debian's packages, in some minutes."


def debian_folder() -> Path:
    """Return where the corpus stands: `overtone/debian-en-de` in the user's cache (XDG_CACHE_HOME)."""
    return user_cache() / DEBIAN


def read_debian(source: str, target: str) -> ParallelSource:
    """Return the corpus, either way round; UserError says how to get it where it is absent."""
    if sorted((source, target)) != list(LANGUAGES):
        raise UserError(f"The corpus {DEBIAN!r} is English and German, en and de: it has no {source}-{target}.")
    folder = debian_folder()
    if not folder.is_dir():
        raise UserError(f"The English-German corpus is not on this machine: there is no {str(folder)!r}. {HOW}")
    return read_folder(folder, source, target)
