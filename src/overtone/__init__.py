"""Representation learning in the frequency domain: encode, mix, align, adapt.

Rooms load on first use, so that ``import overtone as ot`` is fast.
"""

import importlib
from types import ModuleType

__version__ = "0.1.0"
_ROOMS = ("data", "farl", "losses", "models", "nn", "ntk", "report", "spectral", "tasks")
__all__ = ["__version__", *_ROOMS]


def __getattr__(name: str) -> ModuleType:
    if name in _ROOMS:
        return importlib.import_module(f"overtone.{name}")
    raise AttributeError(f"module 'overtone' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
