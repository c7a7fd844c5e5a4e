"""The options of the command line: how a config's fields are called there, and which numbers they take."""

from typing import Any

from overtone.errors import UserError


def as_option(field: str) -> str:
    """Return a field's name as it stands on the command line."""
    return f"--{field.replace('_', '-')}"


def require_at_least(config: Any, **least: int) -> None:
    """Raise UserError for a field of `config` that is below its least; one that is not given is None and fine."""
    for name, lowest in least.items():
        if (value := getattr(config, name)) is not None and value < lowest:
            raise UserError(f"{as_option(name)} {value}: give a number of {lowest} or more.")


def require_seed(seed: int) -> None:
    """Raise UserError for a seed that the generators do not take."""
    if not 0 <= seed < 2**32:
        raise UserError(f"--seed {seed}: give a number from 0 to {2**32 - 1}.")
