"""Progress on stderr, where that is a terminal."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from overtone.processes import process_number

Step = TypeVar("Step")


def shown(steps: Sequence[Step], doing: str) -> Iterator[Step]:
    """Yield the steps under a bar that says what is being done and goes away; of a single step there is none."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    hidden = len(steps) < 2 or not console.is_terminal or process_number() > 0
    yield from track(steps, doing, console=console, transient=True, disable=hidden)
