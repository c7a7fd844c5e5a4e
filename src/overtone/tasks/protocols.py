"""`overtone evaluate PROTOCOL DATA...`: measure ways of adapting as the field measures them, cell by cell."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from tyro.conf import Positional, arg

from overtone.errors import UserError
from overtone.tasks.folders import writable
from overtone.tasks.options import require_seed

if TYPE_CHECKING:
    from overtone.data.published import DataSet
    from overtone.report.protocol import ProtocolReport

Protocol = Literal["few-shot", "base-to-new", "cross-dataset", "domain-generalization"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
SHOTS: Mapping[Protocol, tuple[int, ...]] = {"few-shot": (1, 2, 4, 8, 16)}
PUBLISHED_SHOTS = (16,)  # of the other protocols
BEGUN = "protocol.json"  # in the folder of cells: what all of them must have in common


@dataclass(frozen=True)
class ProtocolConfig:
    """Measure ways of adapting by a protocol of the field: over data sets, methods, shots and seeds.

    `few-shot` learns all classes from few pictures; `base-to-new` learns half of them and scores both halves, each
    among its own; `cross-dataset` and `domain-generalization` learn the first data set and score the others as well,
    or, of one data set alone, its test domains. What is measured is kept: the same command goes on where it stopped.
    """

    protocol: Positional[Protocol]
    """few-shot, base-to-new, cross-dataset or domain-generalization."""
    data: Positional[tuple[str, ...]] = ()
    """Published sets by name (Caltech101, with --root), emoji, emoji:food, emoji@noto, or any data as for adapt."""
    methods: tuple[str, ...] = ("zero-shot", "farl")
    """What to measure."""
    shots: Annotated[tuple[int, ...], arg(metavar="[INT ...]")] = ()
    """Pictures a class to learn from; 1 2 4 8 16 for few-shot and 16 for the others, as published, when not given."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """Each draws its own pictures, as the field draws them."""
    model: str = "embedded"
    """`embedded`, a local directory, or a hub id such as openai/clip-vit-base-patch16 (downloads it)."""
    root: str = ""
    """The folder of the published data sets, laid out as `overtone doctor` checks it."""
    out: Annotated[str, arg(aliases=["-o"])] = ""
    """The folder of cells, table and report; runs/PROTOCOL when not given."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""

    def __post_init__(self) -> None:
        """Raise UserError for nothing to do and for a number out of range."""
        for name in ("data", "methods", "seeds"):
            if not getattr(self, name):
                raise UserError(f"Nothing to measure: name {name}. See overtone evaluate {self.protocol} --help.")
        for seed in self.seeds:
            require_seed(seed)
        if any(shots < 1 for shots in self.shots):
            raise UserError(f"--shots {min(self.shots)}: give numbers of 1 or more.")
        if self.protocol != "few-shot" and len(self.shots) > 1:
            raise UserError(f"--shots {' '.join(map(str, self.shots))}: {self.protocol} takes one number.")


@dataclass(frozen=True)
class ProtocolResult:
    """What was measured, and the folder that holds it."""

    folder: Path
    report: "ProtocolReport"


def evaluate_protocol(config: ProtocolConfig) -> ProtocolResult:
    """Measure every cell that is not there yet, then write the table, the plot and the page.

    A cell that fails is reported, and the others go on. Raises UserError for what the user can mend, and
    KeyboardInterrupt that says how to go on.
    """
    from overtone.farl.methods import method
    from overtone.models.backbone import load_backbone
    from overtone.report.protocol_page import write_protocol_report
    from overtone.tasks.protocol_cells import CELLS, measure_all
    from overtone.tasks.protocol_plan import Plan
    from overtone.tasks.protocol_table import protocol_report
    from overtone.training import pick_device

    device = pick_device(config.device)
    methods = [method(name).name for name in dict.fromkeys(config.methods)]
    plan = Plan.of(
        config.protocol,
        read_data(config),
        methods,
        config.shots or SHOTS.get(config.protocol, PUBLISHED_SHOTS),
        config.seeds,
    )
    backbone = load_backbone(config.model, device)
    common = {"protocol": config.protocol, "backbone": backbone.digest}
    with begun(Path(config.out or f"runs/{config.protocol}"), common, f"{CELLS}/*.json") as folder:
        outcomes, failures = measure_all(plan, backbone, device, folder)
        report = protocol_report(plan, outcomes, failures, backbone, device)
        write_protocol_report(report, folder)
    return ProtocolResult(folder, report)


def read_data(config: ProtocolConfig) -> "list[DataSet]":
    """Return the data sets that are named, each once."""
    from overtone.data.published import load_data_set

    sets = {data.name: data for data in (load_data_set(name, config.root) for name in config.data)}
    return list(sets.values())


@contextlib.contextmanager
def begun(folder: Path, common: dict[str, Any], kept: str) -> Iterator[Path]:
    """Yield the folder of cells, made or gone on with; UserError where its cells have not `common` in common."""
    from overtone import __version__
    from overtone.files import write_atomically

    common = {"overtone": __version__} | common
    before = _read(folder / BEGUN)
    if before is None and folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"--out {str(folder)!r} is not empty and holds no cells. Name a new folder with --out.")
    for name, value in common.items():
        if before is not None and before.get(name) != value:
            raise UserError(
                f"{str(folder)!r} holds cells of {name} {before.get(name)!r}, and these would be of {value!r}. "
                "Name another folder with --out."
            )
    try:
        with writable(folder, kept=kept):
            write_atomically(folder / BEGUN, json.dumps(common, indent=2) + "\n")
            yield folder
    except KeyboardInterrupt:
        raise KeyboardInterrupt("What was measured is kept: the same command goes on") from None


def _read(file: Path) -> dict[str, Any] | None:
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return read if isinstance(read, dict) else None
