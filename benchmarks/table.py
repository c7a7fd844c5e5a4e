"""What every benchmark prints: the machine in general terms, and a Markdown table of means with their spread."""

import json
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from overtone.files import write_atomically


def machine() -> str:
    """Return what this runs on, without names or paths."""
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    return f"{os.cpu_count()} CPU cores, torch {torch.__version__}"


def kept(file: Path, key: str, measure: Callable[[], Any]) -> Any:
    """Return what `measure` gave for this key: from the file where it is there, else now, and into the file.

    Several processes can fill one file, each with keys of its own.
    """
    if key not in (found := _read(file)):
        found = {key: measure()}
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(_read(file) | found, indent=0))  # another may have written meanwhile
    return found[key]


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text()) if file.exists() else {}


def clock(device: str) -> float:
    """Return seconds: the processor's on a CPU, so that other processes do not count, else the wall's."""
    return time.process_time() if device == "cpu" else time.perf_counter()


def spread(values: Sequence[float]) -> str:
    """Return the mean in percent and, of several values, their standard deviation."""
    mean = 100 * statistics.mean(values)
    return f"{mean:.1f} ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else f"{mean:.1f}"


def markdown(head: str, columns: Sequence[str], rows: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Return a table with a row a method and a column a measure; a measure that a method lacks is a dash."""
    lines = [f"| {head} | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
    for name, measures in rows.items():
        cells = [spread(measures[c]) if measures.get(c) else "-" for c in columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)
