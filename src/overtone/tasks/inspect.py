"""`overtone inspect`: look into embeddings, saved ones or those that a model makes of a data set."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from overtone.errors import UserError
from overtone.tasks.folders import resolved_data
from overtone.tasks.options import as_option, require_seed
from overtone.tasks.runs import in_one_go

if TYPE_CHECKING:
    from overtone.data.embeddings import Matrix
    from overtone.report import Choice
    from overtone.report.inspect_results import InspectReport
    from overtone.tasks.inspect_measure import Measured

COPIES = "Rows that are copies of others count once in a modality's own figures, and are one row in retrieval."
ONLY_WITH_MODEL = ("captions", "image_column", "text_column")


@dataclass(frozen=True)
class InspectConfig:
    """Look into embeddings: spectrum, cone, gap, and what the noise dimensions are worth.

    Saved ones: `overtone inspect image.npy text.npy`. A model's: `overtone inspect emoji --model embedded`.
    """

    data: Positional[str]
    """Embeddings in .npy, .npz, .safetensors or .parquet, FILE:NAME for one of several arrays; with --model, data."""
    text: Positional[str] = ""
    """The texts' embeddings, row by row those of the images; not needed for one matrix or a file with both."""
    model: Annotated[str | None, arg(metavar="STR")] = None
    """Embed DATA with this: `embedded`, a local directory, or a hub id such as openai/clip-vit-base-patch16."""
    captions: bool = False
    """With --model: DATA is image-text pairs, as for pretrain, and not pictures with class names, as for adapt."""
    out: Annotated[str, arg(aliases=["-o"])] = ""
    """The run folder; runs/<data>, numbered, when not given."""
    seed: int = 0
    """Every random draw follows from it."""
    device: str = "auto"
    """auto, cpu, cuda or mps; the model's."""
    image_column: Annotated[str | None, arg(metavar="STR")] = None
    """With --model: the table's column of image paths; found by its name when not given."""
    text_column: Annotated[str | None, arg(metavar="STR")] = None
    """With --model: the table's column of class names or captions; found by its name when not given."""

    def __post_init__(self) -> None:
        """Raise UserError for a number out of range and for options that do not go together."""
        require_seed(self.seed)
        if self.model is not None and self.text:
            raise UserError(f"With --model, name the data alone: {self.text!r} is one too many.")
        for name in ONLY_WITH_MODEL:
            if self.model is None and getattr(self, name):
                raise UserError(
                    f"{as_option(name)} is for data that a model embeds: name one, such as --model embedded."
                )


@dataclass(frozen=True)
class InspectResult:
    """What was found, and the folder that it was written into."""

    folder: Path
    report: "InspectReport"


def inspect(config: InspectConfig) -> InspectResult:
    """Read or make the embeddings, measure them, write the page and its figures.

    Raises UserError for what the user can mend.
    """
    from overtone.data.embeddings import load_embeddings, split_name
    from overtone.report import Choice
    from overtone.report.inspect_files import write_inspection
    from overtone.training import pick_device

    if config.model is not None:
        config = dataclasses.replace(config, device=pick_device(config.device))
        named_after = config.data
    else:
        image, text = load_embeddings(config.data, config.text)
        named_after = str(split_name(config.data)[0])
    with in_one_go(config, named_after, {"data": resolved_data(config.data)}) as folder:
        choices, skipped = [Choice("seed", str(config.seed), "every draw follows from it")], []
        if config.model is not None:
            from overtone.tasks.inspect_embed import embed

            made = embed(config, config.model, folder)
            image, text, choices, skipped = made.image, made.text, [*made.choices, *choices], made.skipped
        report = judge(config, image, text, choices)
        report.skipped = [*skipped, *report.skipped]
        write_inspection(report, folder)
    return InspectResult(folder, report)


def judge(config: InspectConfig, image: "Matrix", text: "Matrix | None", choices: "list[Choice]") -> "InspectReport":
    """Measure one matrix, or two that match, and return the report."""
    from overtone.report.inspect_reading import is_hollow, read_neighbours, read_pair, read_side
    from overtone.report.inspect_results import InspectReport, Spectrum
    from overtone.tasks.inspect_measure import measure
    from overtone.tasks.inspect_worth import cosines, worth_of

    matrices = {"embeddings": image} if text is None else {"image": image, "text": text}
    labelled = config.model is not None and not config.captions
    found = measure(matrices, config.seed)
    readings = [r for name in matrices for r in read_side(name, _figures_of(found, name, labelled))]
    hollow = any(is_hollow(reading) for reading in readings)
    worth, tasks = ([], {}) if hollow else worth_of(found.sides)
    readings += (
        read_neighbours(worth) if text is None else read_pair(_figures_of(found, "pair"), worth, tasks, labelled)
    )
    return InspectReport(
        title=_title(config, image, text),
        rows=found.rows,
        sampled=found.sampled,
        metrics=found.metrics,
        spectra=[
            Spectrum(name, view, parts) for name, side in found.sides.items() for view, parts in side.parts.items()
        ],
        readings=readings,
        worth=worth,
        tasks=tasks,
        labelled=labelled,
        cosines=cosines(found.sides, config.seed),
        choices=[*(_about(name, matrix) for name, matrix in matrices.items()), *choices],
        skipped=found.skipped,
        notes=_notes(found, hollow),
    )


def _figures_of(found: "Measured", name: str, labelled: bool = False) -> dict[str, float]:
    """Return the figures of a side or of the pair by their short names, with what the readings need beside them."""
    from overtone.report.inspect_reading import chance_overlap

    prefix = f"{name}/"
    figures = {key.removeprefix(prefix): value for key, value in found.metrics.items() if key.startswith(prefix)}
    if name in found.sides:
        figures["zeros"] = float((found.sides[name].parts["raw"].values == 0).sum())
    if name == "pair":
        figures["chance"] = chance_overlap(found.metrics)
    if labelled and name == "text":
        figures["rows"] = figures["samples"]  # that a class stands beside each of its pictures is nothing to report
    return figures


def _notes(found: "Measured", hollow: bool) -> list[str]:
    from overtone.data.names import count

    notes = []
    if dropped := found.dropped:
        both = ", of both sides of a pair" if len(found.sides) > 1 else ""
        notes.append(f"{count(dropped, 'row')} with NaN or infinity left out{both}.")
    if any(found.metrics[f"{name}/samples"] < found.rows for name in found.sides):
        notes.append(COPIES)
    if hollow:
        notes.append("What the noise directions are worth was not tried: all rows point one way, or nowhere.")
    return notes


def _title(config: InspectConfig, image: "Matrix", text: "Matrix | None") -> str:
    if config.model is not None:
        return f"Inside {config.model} on {config.data}"
    names = [Path(matrix.name).name for matrix in (image, text) if matrix is not None]
    return f"Inside {' and '.join(names)}"


def _about(name: str, matrix: "Matrix") -> "Choice":
    from overtone.report import Choice

    value = f"{matrix.rows:,} rows x {matrix.width:,}, {matrix.dtype}"
    return Choice(name, value, matrix.name)
