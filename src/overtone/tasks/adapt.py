"""`overtone adapt`: adapt a vision-language model to pictures with labels, and report whether it helped."""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from overtone.files import write_atomically
from overtone.tasks.names import read_names, read_templates
from overtone.tasks.options import require_at_least, require_seed
from overtone.tasks.runs import CHECKPOINTS, begun, require_pictures, write_learned

if TYPE_CHECKING:
    from overtone.data import ImageSet, Splits
    from overtone.farl import Adapter
    from overtone.models.backbone import Backbone
    from overtone.report import AdaptReport, Choice
    from overtone.tasks.judging import Part

Injection = Literal["by_modality", "by_depth", "plain"]
INJECTION_REASON = "default: as good as by_depth, and pictures cost a third (benchmarks/few_shot.py)"


@dataclass(frozen=True)
class AdaptConfig:
    """Adapt a vision-language model to a folder of images with few labels, and report honestly whether that helped."""

    data: Positional[str]
    """`emoji`, a folder of class folders (train/val/test levels optional), or a CSV/JSON table of images and labels."""
    model: str = "embedded"
    """`embedded`, a local directory, or a hub id such as openai/clip-vit-base-patch16 (downloads it)."""
    out: Annotated[str, arg(aliases=["-o"])] = ""
    """The run folder; runs/<data>, numbered, when not given."""
    shots: Annotated[int | None, arg(metavar="INT")] = None
    """Pictures a class to learn from, drawn under the seed; all of them when not given."""
    seed: int = 0
    """Every random draw follows from it."""
    classes: str = ""
    """Adapt to these classes only ("cat, dog", or a file with a name a line); the others are tested as unseen."""
    templates: str = ""
    """Sentences with {} for the class name, separated by "|" (or a file of them); the model's own when not given."""
    injection: Injection = "by_modality"
    """Where the tokens go: by_modality or by_depth (two readings of FARL), plain (no Fourier streams: MMRL)."""
    prototypes: Annotated[bool | None, arg(metavar="{True,False}")] = None
    """Classify among the classes adapted to by their pictures' mean too, beside their names (ours); the default with
    the embedded model and others as small."""
    amplitude_mix: bool = False
    """Mix other pictures' amplitude spectra into the training views (FACT)."""
    epochs: Annotated[int | None, arg(metavar="INT")] = None
    """Passes over the training pictures; 20 for a model as small as the embedded one and 10, as published, for
    others when not given."""
    batch_size: Annotated[int | None, arg(metavar="INT")] = None
    """Pictures a step; 64 for a model as small as the embedded one and 32 for others when not given."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of the training's arithmetic; spectra are always computed in fp32."""
    image_column: Annotated[str | None, arg(metavar="STR")] = None
    """The table's column of image paths; found by its name when not given."""
    label_column: Annotated[str | None, arg(metavar="STR")] = None
    """The table's column of class names; found by its name when not given."""
    resume: bool = False
    """Go on with the interrupted run in --out (the last one of this data when not given)."""

    def __post_init__(self) -> None:
        """Raise UserError for a number out of range."""
        require_at_least(self, epochs=1, batch_size=1, shots=1)
        require_seed(self.seed)


@dataclass(frozen=True)
class AdaptResult:
    """A finished run: its folder, the adapter and the report that was written."""

    folder: Path
    adapter: "Adapter"
    report: "AdaptReport"


def adapt(config: AdaptConfig) -> AdaptResult:
    """Run the whole job: read, fit, judge, write.

    Raises UserError for what the user can mend, and KeyboardInterrupt that says how to go on.
    """
    from overtone.data import check_splits, few_shot, load
    from overtone.models.backbone import load_backbone
    from overtone.training import pick_device, pick_precision

    device = pick_device(config.device)
    precision = pick_precision(config.precision, device)
    config = dataclasses.replace(config, device=device, precision=precision, model=_anywhere(config.model))
    names, templates = read_names(config.classes), read_templates(config.templates)
    splits = load(config.data, config.seed, names, config.image_column, config.label_column)
    resolved = {"classes": names, "templates": templates, "train_pictures": len(splits.train)}
    with begun(config, resolved) as folder:
        backbone = load_backbone(config.model, config.device)
        splits = check_splits(splits)
        require_pictures(splits, "leave the class out with --classes")
        train = splits.train if config.shots is None else few_shot(splits.train, config.shots, config.seed)
        adapter = fit(config, train, splits.val, backbone, templates, folder)
        report = judge(config, splits, adapter)
        write_run(folder, adapter, report, train)
    return AdaptResult(folder, adapter, report)


def fit(
    config: AdaptConfig,
    train: "ImageSet",
    val: "ImageSet | None",
    backbone: "Backbone",
    templates: list[str] | None,
    folder: Path,
) -> "Adapter":
    """Fit the adapter to the pictures drawn."""
    from overtone.farl import Adapter, recipe_for

    recipe = recipe_for(backbone, config.prototypes)
    return Adapter.fit(
        train,
        backbone,
        dataclasses.replace(recipe.method, injection=config.injection),
        dataclasses.replace(
            recipe.training,
            epochs=config.epochs or recipe.training.epochs,
            batch_size=config.batch_size or recipe.training.batch_size,
            seed=config.seed,
            precision=config.precision,
            device=config.device,
        ),
        templates,
        config.amplitude_mix,
        folder / CHECKPOINTS,
        config.resume,
        validation=val,
    )


def judge(config: AdaptConfig, splits: "Splits", adapter: "Adapter") -> "AdaptReport":
    """Compare zero-shot with adapted on the test pictures, of seen and of unseen classes."""
    from overtone.report import Choice
    from overtone.tasks.reporting import build_report

    parts: list[tuple[ImageSet, Part]] = [(splits.test, "seen")]
    if splits.unseen:
        parts.append((splits.unseen, "unseen"))
    choices = [Choice(*choice) for choice in splits.choices] + how_adapted(config, adapter)
    if splits.val:
        choices.append(
            Choice("validation pictures", f"{len(splits.val):,}", "for a curve alone: nothing is chosen by it")
        )
    report = build_report(f"Adapted to {config.data}", adapter, parts, choices, list(splits.skipped))
    for curve in ("loss", "validation_accuracy"):
        if points := [(record["epoch"], record[curve]) for record in adapter.log if curve in record]:
            report.curves[curve.replace("_", " ")] = points
    return report


def how_adapted(config: AdaptConfig, adapter: "Adapter") -> "list[Choice]":
    """Return every decision of the run, and who made it."""
    from overtone.farl import INJECTIONS, recipe_for
    from overtone.report import Choice

    defaults = {f.name: f.default for f in dataclasses.fields(AdaptConfig)}

    def choice(what: str, name: str, value: str, default: str) -> Choice:
        return Choice(what, value, default if getattr(config, name) == defaults[name] else "set by you")

    method, training = adapter.model.config, adapter.made["training"]
    source = recipe_for(adapter.backbone, config.prototypes).source
    learnt = f"{adapter.made['pictures']:,} of {len(adapter.classes):,} classes"
    if config.shots is not None:
        learnt += f", {config.shots} each, drawn under the seed"
    rate, decay = training["learning_rate"], training["weight_decay"]
    return [
        choice("backbone", "model", f"{config.model}, weights {adapter.backbone.digest[:12]}", "default"),
        choice("pictures learned from", "shots", learnt, "all there are"),
        choice("templates", "templates", " | ".join(adapter.templates), "the backbone's default"),
        choice("injection", "injection", f"{config.injection}: {INJECTIONS[config.injection]}", INJECTION_REASON),
        choice("prototypes", "prototypes", f"weight {method.prototype:g}" if method.prototype else "none", source),
        Choice("tokens", f"K = {method.tokens}, d_r = {method.width}, {method.heads} heads", source),
        Choice("head weight", f"alpha = {method.alpha}", source),
        Choice("consistency", f"lambda = {method.consistency}", source),
        choice("amplitude mix", "amplitude_mix", "on" if config.amplitude_mix else "off", "default"),
        Choice(
            "views", f"{adapter.made['views']} random crops and flips of each picture", "ours: their states are cached"
        ),
        choice("epochs", "epochs", str(training["epochs"]), source),
        choice("batch", "batch_size", str(training["batch_size"]), source),
        Choice("optimiser", f"AdamW, rate {rate}, weight decay {decay}, cosine, one warm-up epoch", source),
        Choice("stopping", "last step", "as published: nothing is chosen on test pictures"),
        choice("seed", "seed", str(config.seed), "default"),
        choice("precision", "precision", f"{config.precision} on {config.device}", "default"),
        Choice("versions", ", ".join(f"{k} {v}" for k, v in adapter.made["versions"].items()), "installed here"),
    ]


def write_run(folder: Path, adapter: "Adapter", report: "AdaptReport", learned: "ImageSet") -> None:
    """Write everything a run leaves; adapter.json comes last, so that a folder with it is whole."""
    from overtone.report import model_card
    from overtone.tasks.reporting import write_figures

    write_figures(report, folder)
    name = adapter.backbone.name
    front = {
        "library_name": "overtone",
        "base_model": Path(name).name if Path(name).is_absolute() else name,  # where it stands here helps no reader
        "pipeline_tag": "zero-shot-image-classification",
        "tags": ["few-shot", "farl"],
    }
    write_atomically(folder / "README.md", model_card(report, front))
    write_learned(folder, learned)
    adapter.save(folder)


def _anywhere(model: str) -> str:
    """Return a directory's full path, so that the adapter finds its backbone from wherever it is used."""
    path = Path(os.path.expanduser(model))  # noqa: PTH111 - unlike Path's, it raises on no name at all
    return str(path.resolve()) if model != "embedded" and path.is_dir() else model
