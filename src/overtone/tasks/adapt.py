"""`overtone adapt`: adapt a vision-language model to pictures with labels, and report whether it helped."""

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from overtone.errors import UserError
from overtone.files import write_atomically
from overtone.tasks.names import read_names, read_templates

if TYPE_CHECKING:
    from overtone.data import Splits
    from overtone.farl import Adapter
    from overtone.report import AdaptReport, Choice

Injection = Literal["by_modality", "by_depth", "plain"]
CHECKPOINTS = "checkpoints"
INJECTION_REASON = "default"
CONSISTENCY_REASON = "default"


@dataclass(frozen=True)
class AdaptConfig:
    """Adapt a vision-language model to a folder of images with few labels, and report honestly whether that helped."""

    data: Positional[str]
    """`emoji`, a folder of class folders (train/val/test levels optional), or a CSV/JSONL with image and label columns."""
    model: str = "embedded"
    """`embedded`, a local directory, or a hub id such as openai/clip-vit-base-patch16 (downloads it)."""
    out: Annotated[str, arg(aliases=["-o"])] = ""
    """The run folder; runs/<data>, numbered, when not given."""
    shots: int | None = None
    """Pictures a class to learn from, drawn under the seed; all of them when not given."""
    seed: int = 0
    """Every random draw follows from it."""
    classes: str = ""
    """Adapt to these classes only ("cat, dog", or a file with a name a line); the others are tested as unseen."""
    templates: str = ""
    """Sentences with {} for the class name, separated by "|" (or a file with one a line); the model's own when not given."""
    injection: Injection = "by_modality"
    """Where the tokens go: by_modality or by_depth (two readings of FARL), plain (no Fourier streams: MMRL)."""
    amplitude_mix: bool = False
    """Mix other pictures' amplitude spectra into the training views (FACT)."""
    epochs: int = 10
    """Passes over the training pictures."""
    batch_size: int = 32
    """Pictures a step."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of the training's arithmetic; spectra are always computed in fp32."""
    image_column: str | None = None
    """The table's column of image paths; found by its name when not given."""
    label_column: str | None = None
    """The table's column of class names; found by its name when not given."""
    resume: bool = False
    """Go on with the interrupted run in --out."""


@dataclass(frozen=True)
class AdaptResult:
    """A finished run: its folder, the adapter and the report that was written."""

    folder: Path
    adapter: "Adapter"
    report: "AdaptReport"


def adapt(config: AdaptConfig) -> AdaptResult:
    """Run the whole job: read, fit, judge, write. Raises UserError for what the user can mend."""
    from overtone.data import check_splits, load

    folder = open_run(config)
    splits = load(config.data, config.seed, read_names(config.classes), config.image_column, config.label_column)
    splits = check_splits(splits)
    adapter = fit(config, splits, folder)
    report = judge(config, splits, adapter)
    write_run(folder, adapter, report)
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    return AdaptResult(folder, adapter, report)


def open_run(config: AdaptConfig) -> Path:
    """Make the run folder, or find it again with --resume; the settings are kept in it.

    Raises UserError when it holds a finished run, or an interrupted one with other settings.
    """
    folder = Path(config.out) if config.out else _next_folder(Path(config.data).stem)
    settings = dataclasses.asdict(config) | {"resume": False, "out": ""}
    kept = folder / "config.json"
    if (folder / "adapter.json").exists():
        raise UserError(f"{folder} holds a finished run. Name another folder with --out, or remove it.")
    if config.resume:
        if not kept.is_file():
            raise UserError(f"--resume: {folder} holds no interrupted run. Leave --resume away to start one.")
        begun = json.loads(kept.read_text())
        if changed := [name for name in settings if settings[name] != begun.get(name)]:
            name = changed[0]
            raise UserError(
                f"--resume: the run in {folder} has {name}={begun.get(name)!r}, not {settings[name]!r}. Give it the same settings."
            )
    elif kept.exists():
        raise UserError(f"{folder} holds an interrupted run. Go on with --resume, or name another folder with --out.")
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(kept, json.dumps(settings, indent=2, ensure_ascii=False) + "\n")
    return folder


def fit(config: AdaptConfig, splits: "Splits", folder: Path) -> "Adapter":
    """Draw the shots and fit the adapter."""
    from overtone.data import few_shot
    from overtone.farl import Adapter, FarlConfig
    from overtone.training import TrainingConfig, pick_device

    train = splits.train if config.shots is None else few_shot(splits.train, config.shots, config.seed)
    return Adapter.fit(
        train,
        config.model,
        FarlConfig(injection=config.injection),
        TrainingConfig(
            epochs=config.epochs,
            batch_size=config.batch_size,
            seed=config.seed,
            precision=config.precision,
            device=pick_device(config.device),
        ),
        read_templates(config.templates),
        config.amplitude_mix,
        folder / CHECKPOINTS,
        config.resume,
    )


def judge(config: AdaptConfig, splits: "Splits", adapter: "Adapter") -> "AdaptReport":
    """Compare zero-shot with adapted on the test pictures, of seen and of unseen classes."""
    from overtone.report import Choice
    from overtone.tasks.judging import score
    from overtone.tasks.reporting import build_report

    scored = [score(adapter, splits.test, "seen")]
    if splits.unseen is not None and len(splits.unseen):
        scored.append(score(adapter, splits.unseen, "unseen"))
    choices = [Choice(*choice) for choice in splits.choices] + how_adapted(config, adapter)
    report = build_report(f"Adapted to {config.data}", adapter, scored, choices, list(splits.skipped))
    report.curves = {"loss": [(record["epoch"], record["loss"]) for record in adapter.log]}
    return report


def how_adapted(config: AdaptConfig, adapter: "Adapter") -> "list[Choice]":
    """Return every decision of the run, and who made it."""
    from overtone.farl import INJECTIONS
    from overtone.report import Choice

    defaults = {f.name: f.default for f in dataclasses.fields(AdaptConfig)}

    def choice(what: str, name: str, value: str, default: str) -> Choice:
        return Choice(what, value, default if getattr(config, name) == defaults[name] else "set by the user")

    method = adapter.model.config
    rate, decay = (adapter.made["training"][key] for key in ("learning_rate", "weight_decay"))
    return [
        choice("backbone", "model", f"{config.model}, weights {adapter.backbone.digest[:12]}", "default"),
        choice("pictures to learn from", "shots", f"{adapter.made['pictures']}", "all there are"),
        choice("templates", "templates", " | ".join(adapter.templates), "the backbone's default"),
        choice("injection", "injection", f"{config.injection}: {INJECTIONS[config.injection]}", INJECTION_REASON),
        Choice("tokens", f"K = {method.tokens}, d_r = {method.width}, {method.heads} heads", "as published (MMRL)"),
        Choice("head weight", f"alpha = {method.alpha}", "as published (MMRL)"),
        Choice("consistency", f"lambda = {method.consistency}", CONSISTENCY_REASON),
        choice("amplitude mix", "amplitude_mix", "on" if config.amplitude_mix else "off", "default"),
        Choice("views", f"{adapter.made['views']} random crops and flips of each picture", "ours: their states are cached"),
        choice("epochs", "epochs", str(config.epochs), "as published (MMRL)"),
        choice("batch", "batch_size", str(config.batch_size), "as published (MMRL)"),
        Choice("optimiser", f"AdamW, rate {rate}, weight decay {decay}, cosine, one warm-up epoch", "as published (MMRL)"),
        Choice("stopping", "last step", "as published: nothing is chosen on test pictures"),
        choice("seed", "seed", str(config.seed), "default"),
        Choice("versions", ", ".join(f"{k} {v}" for k, v in adapter.made["versions"].items()), "installed here"),
    ]


def write_run(folder: Path, adapter: "Adapter", report: "AdaptReport") -> None:
    """Write everything a run leaves; adapter.json comes last, so that a folder with it is whole."""
    from overtone.report import model_card, write_classes_csv, write_metrics_json, write_report

    write_metrics_json(report, folder / "metrics.json")
    write_classes_csv(report.classes, folder / "classes.csv")
    front = {
        "library_name": "overtone",
        "base_model": adapter.backbone.name,
        "pipeline_tag": "zero-shot-image-classification",
        "tags": ["few-shot", "farl"],
    }
    write_atomically(folder / "README.md", model_card(report, front))
    write_report(report, folder / "report.html")
    adapter.save(folder)


def _next_folder(name: str) -> Path:
    """Return runs/<name>-1, or the first number that is free."""
    number = 1
    while (folder := Path("runs") / f"{name or 'data'}-{number}").exists():
        number += 1
    return folder
