"""Work on many pictures at once."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
AT_ONCE = 4096  # that wait for a thread: each takes 2 KB, which is gigabytes for millions


def on_all_cores(work: Callable[[Item], Result], items: Sequence[Item], threads: int | None = None) -> Iterator[Result]:
    """Yield what `work` returns for each item, in order, from so many threads, or one a core."""
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        for start in range(0, len(items), AT_ONCE):
            yield from pool.map(work, items[start : start + AT_ONCE])
