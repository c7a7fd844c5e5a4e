"""What is said while a run reads its pictures."""

import sys
import time

from overtone.processes import process_number
from overtone.training import duration


class Reading:
    """Say once, within seconds, how fast the pictures are read and how long it takes."""

    FIRST = 2.0  # seconds

    def __init__(self) -> None:
        self.begun, self.said = time.monotonic(), process_number() > 0

    def __call__(self, done: int, all: int) -> None:
        """Look at the clock."""
        gone = time.monotonic() - self.begun
        if not self.said and gone >= self.FIRST:
            self.said = True
            left = duration(gone / done * (all - done))
            print(f"reading {all:,} pictures: {done / gone:,.0f} a second, {left} left", file=sys.stderr)
