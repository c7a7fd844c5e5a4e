"""Looking at the installation: packages, device, what is embedded, and the folders that caches are kept in."""

import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from overtone import __version__
from overtone.tasks.doctor import Finding

LEAST_ROOM = 2**30  # bytes: weights of a usual backbone and the states of some hundred pictures
DEVELOPMENT = ("dev", "bench")  # extras that a user of the command has no use for


def examine_installation() -> Iterator[Finding]:
    """Yield what was found, one thing after the other."""
    yield Finding("overtone", "ok", f"{__version__}, Python {platform.python_version()}, {sys.executable}")
    yield from _packages()
    yield _device()
    yield _pictures()
    yield _model()
    yield from _folders()


def _packages() -> Iterator[Finding]:
    for requirement in map(Requirement, metadata.requires("overtone") or ()):
        extra = str(requirement.marker).partition("==")[2].strip(" '\"") if requirement.marker else ""
        if extra not in DEVELOPMENT:
            yield _package(requirement, extra)


def _package(requirement: Requirement, extra: str) -> Finding:
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        if extra:
            return Finding(requirement.name, "absent", f"not installed: pip install 'overtone[{extra}]'")
        return Finding(requirement.name, "wrong", "not installed", ("Install Overtone again.",))
    if not requirement.specifier.contains(version, prereleases=True):
        advice = f"pip install '{requirement.name}{requirement.specifier}'"
        return Finding(requirement.name, "wrong", f"{version}, and {requirement.specifier} is needed", (advice,))
    return Finding(requirement.name, "ok", version)


def _device() -> Finding:
    import torch

    from overtone.training import pick_device

    device = pick_device("auto")
    what = torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads"
    return Finding("device", "ok", f"{device}, {what}")


def _pictures() -> Finding:
    from overtone.data.emoji import PARTS, emoji_part

    try:
        pictures = sum(len(emoji_part(part)) for part in PARTS)
    except Exception as error:  # whatever a damaged file ends in
        return Finding("embedded pictures", "wrong", " ".join(str(error).split()), ("Install Overtone again.",))
    return Finding("embedded pictures", "ok", f"{pictures:,}")


def _model() -> Finding:
    from overtone.models.backbone import EMBEDDED, load_backbone

    try:
        backbone = load_backbone(EMBEDDED)
    except Exception as error:
        return Finding("embedded model", "wrong", " ".join(str(error).split()), ("Install Overtone again.",))
    return Finding("embedded model", "ok", f"weights {backbone.digest[:12]}, {backbone.size} x {backbone.size} pixels")


def _folders() -> Iterator[Finding]:
    from huggingface_hub.constants import HF_HUB_CACHE

    from overtone.farl import reuse

    states = reuse.folder()
    if states is None:
        yield Finding("states of pictures", "absent", "not kept for the next run: OVERTONE_CACHE is set empty")
    else:
        yield _folder("states of pictures", states)
    yield _folder("models from the hub", Path(HF_HUB_CACHE))
    yield _folder("temporary files", Path(tempfile.gettempdir()))


def _folder(name: str, folder: Path) -> Finding:
    """Return whether something can be written where a folder is, or is to be made, and how much."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        return Finding(name, "wrong", f"{folder}: {error.strerror}", ("Nothing can be kept there.",))
    free = shutil.disk_usage(there).free
    found = f"{folder}, {free / 2**30:,.1f} GiB free"
    return Finding(name, "ok" if free >= LEAST_ROOM else "wrong", found, () if free >= LEAST_ROOM else ("Make room.",))
