"""Honest reports: figures with intervals, one HTML page, a model card and tables, made from results and nothing else.

Names load on first use: the page needs Matplotlib, the statistics do not.
"""

import importlib
from typing import Any

_HOMES = {
    "AdaptReport": "results",
    "Choice": "results",
    "ClassRow": "results",
    "Comparison": "results",
    "ConfusedPair": "results",
    "ExchangeView": "results",
    "Interval": "results",
    "Mistake": "results",
    "Moved": "results",
    "Sensitivity": "results",
    "Skipped": "results",
    "StreamView": "results",
    "Verdict": "results",
    "compare": "statistics",
    "compare_harmonic": "statistics",
    "harmonic_mean": "statistics",
    "headline": "words",
    "model_card": "card",
    "paired_difference": "statistics",
    "wilson": "statistics",
    "write_classes_csv": "tables",
    "write_metrics_json": "tables",
    "write_report": "page",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(_HOMES)
