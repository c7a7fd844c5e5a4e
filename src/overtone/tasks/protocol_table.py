"""From the cells of a protocol to its table: means, spreads, averages and harmonic means as the field computes them."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from overtone.data.names import count
from overtone.data.published import DataSet, is_emoji
from overtone.farl.methods import METHODS
from overtone.models.backbone import Backbone
from overtone.report import Choice, harmonic_mean
from overtone.report.protocol import Block, Figure, ProtocolReport, Row, Setting, combined
from overtone.tasks.protocol_cells import LOG, Outcome
from overtone.tasks.protocol_plan import BASE, NEW, TEST, UNLEARNED, Cell, Plan

AVERAGE, H = "average", "H"
WAYS = {
    "few-shot": "all classes are learned and scored",
    "base-to-new": "the first half of the classes is learned; each half is scored among its own classes",
    "cross-dataset": "the first data set is learned, the others are scored among their own classes",
    "domain-generalization": "one domain is learned, others are scored",
}


def protocol_report(
    plan: Plan,
    outcomes: Mapping[Cell, Outcome],
    failures: Mapping[Cell, Mapping[str, str]],
    backbone: Backbone,
    device: str,
) -> ProtocolReport:
    """Return the report on what was measured."""
    columns, blocks = _Table(plan, outcomes, failures).filled()
    return ProtocolReport(
        protocol=plan.protocol,
        title=f"{plan.protocol}: {', '.join(data.name for data in plan.sets)}",
        summary=summary(plan, columns, blocks[-1]),
        columns=columns,
        blocks=blocks,
        across="shots" if plan.protocol == "few-shot" else "",
        settings=settings(outcomes),
        failures=[failure for cell, why in failures.items() for failure in _listed_failures(cell, why, plan)],
        choices=choices(plan, backbone, device),
        notes=notes(plan, failures),
    )


class _Table:
    """The blocks of a protocol's table."""

    def __init__(
        self, plan: Plan, outcomes: Mapping[Cell, Outcome], failures: Mapping[Cell, Mapping[str, str]]
    ) -> None:
        self.plan, self.outcomes, self.failures = plan, outcomes, failures

    def filled(self) -> tuple[tuple[str, ...], list[Block]]:
        """Return the columns, and a block a data set with the average over several last; one block of a transfer."""
        if self.plan.transfers:
            return self._transfer()
        shots = sorted({cell.shots for cell in self.plan.cells})
        base_to_new = self.plan.protocol == "base-to-new"
        columns = (BASE, NEW, H) if base_to_new else tuple(map(str, shots))
        blocks = []
        for data in self.plan.sets:
            rows = [
                (method, self._halves(method, data) if base_to_new else self._over(method, data, shots))
                for method in self.plan.methods
            ]
            blocks.append(Block(data.name, tuple(Row(method, figures) for method, figures in rows)))
        if len(blocks) > 1:
            blocks.append(_averaged(blocks, base_to_new))
        return columns, blocks

    def _transfer(self) -> tuple[tuple[str, ...], list[Block]]:
        source, exams = self.plan.sets[0], self.plan.exams
        judged = [place for place, exam in enumerate(exams) if exam != self.plan.own]
        rows = []
        for method in self.plan.methods:
            figures = [self._figure(method, source, exam) for exam in exams]
            if len(judged) > 1:
                figures.append(combined([figures[place] for place in judged], statistics.mean))
            rows.append(Row(method, tuple(figures)))
        return (*exams, *([AVERAGE] if len(judged) > 1 else [])), [Block(f"learned from {source.name}", tuple(rows))]

    def _over(self, method: str, data: DataSet, shots: Sequence[int]) -> tuple[Figure, ...]:
        return tuple(self._figure(method, data, TEST, number) for number in shots)

    def _halves(self, method: str, data: DataSet) -> tuple[Figure, ...]:
        base, new = (self._figure(method, data, part) for part in (BASE, NEW))
        return base, new, combined([base, new], _harmonic)

    def _figure(self, method: str, data: DataSet, exam: str, shots: int | None = None) -> Figure:
        cells = [
            cell
            for cell in self.plan.cells
            if (cell.method, cell.data) == (method, data.name) and shots in (None, cell.shots)
        ]
        there = {cell.seed: self.outcomes[cell].accuracy.get(exam) for cell in cells if cell in self.outcomes}
        by_seed = {seed: value for seed, value in there.items() if value is not None}
        return Figure.of(by_seed, sum(exam in self.failures.get(cell, ()) for cell in cells))


def _averaged(blocks: Sequence[Block], base_to_new: bool) -> Block:
    """Return the averages over data sets; H is that of the averages of base and new, as the field has it."""
    rows = []
    for place, row in enumerate(blocks[0].rows):
        columns = zip(*(block.rows[place].figures for block in blocks), strict=True)
        means = [combined(figures, statistics.mean) for figures in columns]
        if base_to_new:
            means[2] = combined(means[:2], _harmonic)
        rows.append(Row(row.method, tuple(means)))
    return Block(AVERAGE, tuple(rows))


def _harmonic(pair: Sequence[float]) -> float:
    base, new = pair
    return harmonic_mean(base, new)


def summary(plan: Plan, columns: Sequence[str], block: Block) -> str:
    """Return which method does best by the last column, and whether the next one is within the spread between seeds."""
    of = {H: "the harmonic mean of base and new", AVERAGE: "the average over what was not learned"}.get(columns[-1])
    what = of or (f"accuracy at {columns[-1]} shots" if plan.protocol == "few-shot" else f"accuracy on {columns[-1]}")
    where = f", averaged over {len(plan.sets)} data sets" if block.name == AVERAGE else ""
    zero = 0 if plan.protocol == "few-shot" else -1  # without shots, it stands in the first column
    figures = [(row.method, row.figures[zero if row.method in UNLEARNED else -1]) for row in block.rows]
    measured = [(method, figure, figure.mean) for method, figure in figures if figure.mean is not None]
    if not measured:
        return f"There is no figure for {what}{where}."
    (best, figure, mean), *others = sorted(measured, key=lambda found: -found[2])
    if not others:
        return f"By {what}{where}, {best} alone was measured: {figure} %."
    said = f"By {what}{where}, {best} does best with {figure} %"
    second, next_figure, next_mean = others[0]
    close = mean - next_mean <= max(figure.spread or 0, next_figure.spread or 0)
    ahead = f"{100 * (mean - next_mean):.1f} points ahead of {second} ({next_figure} %)"
    return f"{said}, {ahead}{', no more than seeds differ' if close else ''}."


def settings(outcomes: Mapping[Cell, Outcome]) -> list[Setting]:
    """Return each method's hyper-parameters; where cells differ, each value with the number of cells that have it."""
    found: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for cell, outcome in outcomes.items():
        for name, value in outcome.settings.items():
            found[cell.method, name][value] += 1
    return [Setting(method, name, _listed(values)) for (method, name), values in sorted(found.items())]


def _listed(values: Counter[str]) -> str:
    if len(values) == 1:
        return next(iter(values))
    return "; ".join(f"{value} in {count(often, 'cell')}" for value, often in values.most_common())


def _listed_failures(cell: Cell, why: Mapping[str, str], plan: Plan) -> list[tuple[str, str]]:
    """Return what failed, and why: the cell as a whole, or which exams."""
    if len(why) == len(plan.exams) and len(set(why.values())) == 1:
        return [(str(cell), next(iter(why.values())))]
    return [(f"{cell}, scored on {exam}", reason) for exam, reason in why.items()]


def choices(plan: Plan, backbone: Backbone, device: str) -> list[Choice]:
    """Return how it was measured."""
    sets = (f"{data.name}: {count(len(data.test.classes), 'class')}, {_parts(data)}" for data in plan.sets)
    shots = " ".join(map(str, plan.shots))
    return [
        Choice("protocol", plan.protocol, WAYS[plan.protocol]),
        Choice("data", "; ".join(sets), "named by you"),
        Choice("shots", shots, "a class, and min(shots, 4) to choose settings by, drawn as the field's code does"),
        Choice("seeds", " ".join(map(str, plan.seeds)), "the same seed gives every method the same pictures"),
        Choice("backbone", f"{backbone.name}, weights {backbone.digest[:12]}", "the same towers for every method"),
        *(Choice(name, METHODS[name].source, "method") for name in plan.methods),
        Choice("device", device, "here"),
    ]


def _parts(data: DataSet) -> str:
    parts = (("to learn from", data.train), ("to choose by", data.val), ("to test", data.test))
    return ", ".join(f"{len(images):,} {what}" for what, images in parts if images)


def notes(plan: Plan, failures: Mapping[Cell, Mapping[str, str]]) -> list[str]:
    """Return what a reader must know to trust the figures."""
    found = list(dict.fromkeys(note for data in plan.sets for note in data.notes))
    for data in plan.learned:
        if not is_emoji(data.name) and min(Counter(data.train.labels).values()) < max(plan.shots):
            found.append(f"{data.name}: classes of fewer than {max(plan.shots)} pictures give some of them repeatedly.")
    if failures:
        failed = count(len(failures), "cell")
        found.insert(
            0,
            f"{failed} of {len(plan.cells)} failed: averages over them are missing or of fewer seeds; {LOG} says why.",
        )
    if len(plan.seeds) < 3 and any(cell.shots for cell in plan.cells):
        found.append("Fewer than three seeds: the spread says little.")
    return found
