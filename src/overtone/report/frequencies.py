"""Drawings of the frequencies that a layer chose, as inline SVG in the page's colours."""

import numpy as np

BIN = 7  # CSS pixels of one frequency


def frequency_chart(kept: np.ndarray, description: str) -> str:
    """Draw a map of (vertical, horizontal) frequencies, zero in the middle: a cell each, filled where `kept` is 1."""
    rows, columns = kept.shape
    cells = "".join(f'<rect x="{x + 0.06}" y="{y + 0.06}" width="0.88" height="0.88"/>' for y, x in np.argwhere(kept))
    ground = f'<rect width="{columns}" height="{rows}" fill="var(--line)" fill-opacity="0.45"/>'
    middle = f'<rect x="{columns // 2}" y="{rows // 2}" width="1" height="1" fill="none" stroke="var(--ink)"'
    return (
        f'<svg role="img" aria-label="{description}" viewBox="0 0 {columns} {rows}" width="{BIN * columns}">'
        f'{ground}<g fill="var(--adapted)">{cells}</g>{middle} stroke-width="0.12"/></svg>'
    )
