"""Every call in the rooms of mathematics is checked, in tests, against the shapes and types that it is annotated with.

conftest.py imports this before anything of overtone, since modules are checked that are imported later.
"""

from collections.abc import Iterator

import jaxtyping
import pytest
from beartype import BeartypeConf, beartype

ROOMS = ["spectral", "nn", "ntk", "losses"]

checker = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float, as PEP 484 and mypy have it
jaxtyping.install_import_hook([f"overtone.{room}" for room in ROOMS], "checked.checker")


@pytest.fixture(autouse=True)
def unless_unchecked(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let a test marked `unchecked` through: it gives what is refused, or compiles."""
    jaxtyping.config.update("jaxtyping_disable", request.node.get_closest_marker("unchecked") is not None)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
