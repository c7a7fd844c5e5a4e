"""Folders of class folders, with or without `train`, `val` and `test` levels; and finding the pictures to predict."""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from overtone.data.images import EXTENSIONS, UNREAD, UNREAD_EXTENSIONS, kind_of
from overtone.data.imageset import Row, Skipped
from overtone.data.names import clean_names, count, natural_key, refuse_case_alone, some
from overtone.data.source import LEVELS, Level, Source
from overtone.errors import UserError, did_you_mean

LAYOUT = "Expected one folder a class with its pictures in it, or such folders under train, val and test"
BESIDE = "they stand beside the levels"


@dataclass(frozen=True)
class Listing:
    """What stands in a folder, in natural order, without what is hidden."""

    path: Path
    folders: list[Path]
    pictures: list[Path]
    unread: list[Path]  # pictures by their names, of kinds that are not read
    others: int  # files whose names do not end as a picture's


def read_folder(root: Path) -> Source:
    """Find the pictures of a folder of class folders; UserError says what is expected where it is laid out otherwise.

    A folder below `root` is a level when it is called so (in any case) and holds folders and no pictures of its own.
    Pictures deeper than a class folder, hidden files and other files are left out, and counted in the choices; those of
    a kind that is not read are skipped.
    """
    top = _scan(root)
    below = [_scan(folder) for folder in top.folders]
    levels = _levels(below)
    if levels:
        loose = sum(len(listing.pictures) for listing in levels.values())
        outside = [listing.path.name for listing in below if listing not in levels.values()]
        classes = {level: [_scan(folder) for folder in listing.folders] for level, listing in levels.items()}
    else:
        _refuse_unlabelled(root, below)
        loose, outside, classes = len(top.pictures), [], {"all": below}
    used = [listing for listings in classes.values() for listing in listings]
    unread = tuple(Skipped(str(file), UNREAD) for listing in used for file in listing.unread)
    rows = {level: _class_rows(listings, root) for level, listings in classes.items()}
    if not any(rows.values()):
        first = f" The first of {len(unread)} other files, {unread[0].source!r}: {UNREAD}." if unread else ""
        raise UserError(_nothing_found(top) + first)
    refuse_case_alone((listing.path.name for listing in used if listing.pictures), repr(str(root)))
    return Source(rows, "the folder has no {} level", unread, tuple(_left_out(used, loose, outside)))


def find_images(paths: Sequence[str]) -> list[Path]:
    """Return the picture files that `paths` name: files, folders (with all below them) and glob patterns.

    Each file comes once; those of a kind that is not read come too, to be reported.

    Raises UserError for a path that leads to no picture.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if not path.strip():
            raise UserError("An empty name among the pictures. Give picture files, folders of them, or patterns.")
        matches = _matches(path)
        if not matches and kind_of(path) == "folder":
            raise UserError(f"The folder {path!r} holds no pictures ({', '.join(sorted(EXTENSIONS))}).")
        if not matches:
            near = did_you_mean(path, neighbours(Path(path)))
            raise UserError(
                f"No picture at {path!r}.{near} Give picture files, folders of them, or patterns such as '*.jpg'."
            )
        found.update(dict.fromkeys(matches))
    return list(found)


def neighbours(path: Path) -> list[str]:
    """Return what else stands beside `path`, written as `path` is; nothing where that cannot be read."""
    try:
        return [str(entry) for entry in path.parent.iterdir() if entry != path]
    except OSError:
        return []


def files_below(folder: Path, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """Yield every file below a folder that is not hidden, in natural order, folder by folder.

    Links to folders are followed, but not to one of those `above`, the real paths on the way down: that would be a
    loop.
    """
    real = os.path.realpath(folder)
    if real in above:
        return
    _, folders, names = next(os.walk(folder), ("", [], []))
    yield from (folder / name for name in sorted(names, key=natural_key) if not name.startswith("."))
    for name in sorted(folders, key=natural_key):
        if not name.startswith("."):
            yield from files_below(folder / name, (*above, real))


def _matches(path: str) -> list[Path]:
    target = Path(path)
    if kind_of(target) == "file":
        return [target]
    matches = [target] if kind_of(target) == "folder" else _globbed(path)
    kinds = EXTENSIONS | UNREAD_EXTENSIONS
    return [file for match in matches for file in ([match] if _is_picture(match, kinds) else _below(match, kinds))]


def _globbed(pattern: str) -> list[Path]:
    found = glob.glob(pattern, recursive=True)  # noqa: PTH207  (Path.glob refuses patterns that start at the root)
    return [Path(match) for match in sorted(found, key=natural_key)]


def _below(folder: Path, kinds: frozenset[str] = EXTENSIONS) -> list[Path]:
    return [file for file in files_below(folder) if _is_picture(file, kinds)]


def _is_picture(path: Path, kinds: frozenset[str]) -> bool:
    """Return whether the name says that this is a picture; a link that leads nowhere counts, to be reported as bad."""
    return path.suffix.lower() in kinds and not path.name.startswith(".") and not path.is_dir()


def _scan(folder: Path) -> Listing:
    try:
        with os.scandir(folder) as entries:
            visible = {entry.name: _is_folder(entry) for entry in entries if not entry.name.startswith(".")}
    except OSError as error:
        raise UserError(f"The folder {str(folder)!r} cannot be read: {error.strerror}.") from error
    names = sorted(visible, key=natural_key)
    files = [folder / name for name in names if not visible[name]]
    pictures = [file for file in files if file.suffix.lower() in EXTENSIONS]
    unread = [file for file in files if file.suffix.lower() in UNREAD_EXTENSIONS]
    others = len(files) - len(pictures) - len(unread)
    return Listing(folder, [folder / name for name in names if visible[name]], pictures, unread, others)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether this is a folder or a link to one; a link to itself, at which is_dir fails, is not."""
    return kind_of(entry.path) == "folder" if entry.is_symlink() else entry.is_dir()


def _levels(listings: Iterable[Listing]) -> dict[Level, Listing]:
    levels: dict[Level, Listing] = {}
    for listing in listings:
        level = LEVELS.get(listing.path.name.lower())
        if level and listing.folders and not listing.pictures:
            if level in levels:
                both = f"{levels[level].path.name!r} and {listing.path.name!r}"
                raise UserError(f"Two folders are the {level} level: {both}. Keep one.")
            levels[level] = listing
    return levels


def _class_rows(listings: Iterable[Listing], root: Path) -> list[Row]:
    pictures = {listing.path.name: listing.pictures for listing in listings if listing.pictures}
    names = clean_names(pictures, repr(str(root)))
    return [Row(str(file), names[raw]) for raw, files in pictures.items() for file in files]


def _refuse_unlabelled(root: Path, listings: Iterable[Listing]) -> None:
    """Raise UserError for pictures that stand right under the levels: `train` and `test` are no classes."""
    holding = [listing.path.name for listing in listings if listing.pictures]
    if holding and all(name.lower() in LEVELS for name in holding):
        where = some(map(repr, holding))
        raise UserError(f"{str(root)!r} has pictures right under {where}, with no classes. {LAYOUT}.")


def _nothing_found(top: Listing) -> str:
    root = str(top.path)
    if top.pictures:
        return (
            f"{root!r} holds {count(len(top.pictures), 'picture')} and no class folders. {LAYOUT}. "
            f"To label such a folder with a trained adapter: overtone predict ADAPTER {root}"
        )
    if deeper := _below(top.path):
        return (
            f"No class folder in {root!r}; the first picture found is {str(deeper[0].relative_to(top.path))!r}. "
            f"{LAYOUT}. For domains, list the pictures in a CSV with the columns image, label and domain."
        )
    return f"The folder {root!r} holds no pictures ({', '.join(sorted(EXTENSIONS))}). {LAYOUT}."


def _left_out(classes: list[Listing], loose: int, outside: list[str]) -> list[tuple[str, str, str]]:
    """Return the choices that say which files and folders were not used."""
    others = sum(listing.others for listing in classes)
    deeper = sum(len(_below(inner)) for listing in classes for inner in listing.folders)
    empty = [listing.path.name for listing in classes if not listing.pictures]
    notes = []
    if others:
        notes.append(("files left out", count(others, "file"), "their names do not end as a picture's"))
    if loose + deeper:
        notes.append(("pictures left out", count(loose + deeper, "picture"), "they are not right in a class folder"))
    if empty:
        notes.append(("folders left out", some(map(repr, empty)), "they hold no pictures of their own"))
    if outside:
        notes.append(("folders left out", some(map(repr, outside)), BESIDE))
    return notes
