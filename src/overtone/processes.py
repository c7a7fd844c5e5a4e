"""The processes that train together, as torchrun's environment tells of them."""

import os


def processes() -> int:
    """Return how many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def process_number() -> int:
    """Return which of them this is; number 0 writes and speaks."""
    return int(os.environ.get("RANK", "0"))


def processes_here() -> int:
    """Return how many of them share this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
