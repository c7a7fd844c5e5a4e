"""Parallel text: sentences with their translations, from folders, tables, the hub and the built-in corpus; subwords."""

from overtone.data.imageset import Skipped
from overtone.data.parallel.lines import lines_of, read_lines
from overtone.data.parallel.loading import load_parallel, load_test_sentences
from overtone.data.parallel.sentences import ParallelSplits, Sentences, TestSentences
from overtone.data.parallel.subwords import train_subwords

__all__ = [
    "ParallelSplits",
    "Sentences",
    "Skipped",
    "TestSentences",
    "lines_of",
    "load_parallel",
    "load_test_sentences",
    "read_lines",
    "train_subwords",
]
