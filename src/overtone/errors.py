"""The one error that a user's mistake ends in."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake that the user can mend: one line with what was wrong, what was found and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the choice nearest to ``name``, or an empty string."""
    near = difflib.get_close_matches(name, list(choices), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
