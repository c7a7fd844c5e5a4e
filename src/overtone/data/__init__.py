"""Pictures with labels: the built-in set, folders, tables, and single files. Imports no torch."""

from overtone.data.emoji import emoji_part
from overtone.data.folders import find_images
from overtone.data.images import MAX_PIXELS, BadImage, open_image
from overtone.data.imageset import ImageSet, Record, Skipped, Splits, check, check_splits
from overtone.data.loading import Tests, load, load_tests
from overtone.data.shots import few_shot

__all__ = [
    "MAX_PIXELS",
    "BadImage",
    "ImageSet",
    "Record",
    "Skipped",
    "Splits",
    "Tests",
    "check",
    "check_splits",
    "emoji_part",
    "few_shot",
    "find_images",
    "load",
    "load_tests",
    "open_image",
]
