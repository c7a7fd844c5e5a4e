"""Run `overtone inspect` on a large file and print by how many bytes the most resident memory grew over the imports."""

import resource
import sys
import warnings

from overtone.cli import main


def most_resident() -> int:
    """Return bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


# What the verb loads, and the fonts of its charts
import matplotlib.backends.backend_svg  # noqa: E402, F401
import pyarrow.parquet  # noqa: E402, F401

import overtone.report.inspect_files  # noqa: E402
import overtone.tasks.inspect_worth  # noqa: E402
import overtone.training  # noqa: E402, F401

warnings.simplefilter("error")
before = most_resident()
main(["inspect", *sys.argv[1:]])
print(f"grew by {most_resident() - before}")
