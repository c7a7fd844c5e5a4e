"""The data sets that the field measures adaptation on, and its draws and halves, for these and for any other data."""

from overtone.data.published.catalogue import GUIDE, PUBLISHED, Published, find_published
from overtone.data.published.dataset import DataSet
from overtone.data.published.draws import few_shot_as_published, part_of
from overtone.data.published.emoji_sets import is_emoji
from overtone.data.published.faults import Contents, contents, faults, missing_files
from overtone.data.published.named import KNOWN, load_data_set

__all__ = [
    "GUIDE",
    "KNOWN",
    "PUBLISHED",
    "Contents",
    "DataSet",
    "Published",
    "contents",
    "faults",
    "few_shot_as_published",
    "find_published",
    "is_emoji",
    "load_data_set",
    "missing_files",
    "part_of",
]
