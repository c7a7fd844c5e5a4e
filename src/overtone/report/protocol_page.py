"""The report of a protocol as files: the page, the table for machines, and the plot."""

import csv
import io
from pathlib import Path

from ..files import write_atomically
from .page import filled
from .protocol import Block, ProtocolReport
from .protocol_figures import charts, plot


def write_protocol_report(report: ProtocolReport, folder: Path) -> None:
    """Write table.csv, plot.svg and report.html into `folder`."""
    write_atomically(folder / "table.csv", table_csv(report))
    write_atomically(folder / "plot.svg", plot(report))
    write_atomically(folder / "report.html", render_protocol(report))


def render_protocol(report: ProtocolReport) -> str:
    """Return the page: the same report gives the same text, and a section without content is left out."""
    best = [_best(block, len(report.columns)) for block in report.blocks]
    return filled("protocol.html.j2", report=report, charts=charts(report), best=best)


def _best(block: Block, columns: int) -> list[float | None]:
    """Return the highest mean of each column, where there is more than one to choose from."""
    means = [[x for row in block.rows if (x := row.figures[i].mean) is not None] for i in range(columns)]
    return [max(column) if len(column) > 1 else None for column in means]


def table_csv(report: ProtocolReport) -> str:
    """Return one line a figure: mean and standard deviation over seeds in [0, 1], how many there were and failed.

    What could not be measured has an empty mean; the spread of one seed is empty too.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["protocol", "data", "method", report.across or "column", "mean", "spread", "seeds", "failed"])
    for block in report.blocks:
        for row in block.rows:
            for column, figure in zip(report.columns, row.figures, strict=True):
                numbers = ["" if x is None else f"{x:.6f}" for x in (figure.mean, figure.spread)]
                writer.writerow(
                    [report.protocol, block.name, row.method, column, *numbers, len(figure.by_seed), figure.failed]
                )
    return text.getvalue()
