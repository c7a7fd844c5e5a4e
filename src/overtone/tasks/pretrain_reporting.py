"""Make the report of a pre-training from what was measured and logged."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from overtone.data.names import count
from overtone.data.pairs import PairSplits, PairStream
from overtone.farl.adapter import versions
from overtone.models.assembly import Assembly
from overtone.processes import processes
from overtone.report import Choice, wilson
from overtone.report.pretrain import Curve, Measure, PretrainReport, Retrieved, ZeroShotScore
from overtone.report.words import percent
from overtone.spectral.metrics import METRICS
from overtone.tasks.pretrain import NEW_RATE, WARM_RATE, WEIGHT_DECAY, Plan, PretrainConfig
from overtone.tasks.pretrain_judging import CURVES, WATCHED, Judge
from overtone.tasks.pretrain_model import HIGHEST_SCALE, Objective
from overtone.tasks.retrieval import KS

DIRECTIONS = {"image_to_text": "Pictures to texts", "text_to_image": "Texts to pictures"}
SIDES = {"image": "pictures", "text": "texts"}
# Charts by title: the log's names by what the curve is called
PANELS: dict[str, dict[str, str]] = {
    "Loss": {"loss": "loss"},
    "Pictures to texts": {f"R@{k}": f"image_to_text_recall_at_{k}" for k in KS},
    "Texts to pictures": {f"R@{k}": f"text_to_image_recall_at_{k}" for k in KS},
    "Effective rank (RankMe)": {of: f"{side}/raw/rankme" for side, of in SIDES.items()},
    "Dimensions of signal": {
        f"{of}, {part}": f"{side}/centred/{part}_share" for side, of in SIDES.items() for part in ("strong", "weak")
    },
    "Energy in the first direction": {of: f"{side}/raw/top_energy" for side, of in SIDES.items()},
    "Cone: mean cosine": {of: f"{side}/cone" for side, of in SIDES.items()},
    "Uniformity": {of: f"{side}/uniformity" for side, of in SIDES.items()},
    "Matching pairs": {"alignment": "pair/alignment", "cosine": "pair/matched_cosine"},
    "Modality gap": {"gap": "pair/gap"},
    "Spectra of pictures and texts": {
        "Hellinger distance": "pair/raw/hellinger",
        "subspace overlap": "pair/raw/subspace_overlap",
    },
    "SDE: spectral loss": {"Hellinger, squared": "sde_hellinger", "subspace": "sde_subspace"},
    "SDE: schedules": {"alpha": "sde_alpha", "lambda": "sde_lam"},
    "Learning rate": {"learning rate": "learning_rate"},
}


def build_report(
    config: PretrainConfig,
    plan: Plan,
    judge: Judge,
    assembly: Assembly,
    splits: PairSplits,
    log: list[dict[str, Any]],
) -> PretrainReport:
    """Measure on the judge's pairs and return the report."""
    figures = judge.measure()
    report = PretrainReport(f"Pre-trained on {config.data}", "", panels=panels(log))
    if judge.pairs is not None:
        images, texts = len(judge.pairs.pixels), len(judge.pairs.texts)
        sizes = {"image_to_text": (images, texts), "text_to_image": (texts, images)}
        report.retrieval = [retrieved(direction, figures, *size) for direction, size in sizes.items()]
        report.metrics = {k: v for k, v in figures.items() if k.startswith(("image/", "text/", "pair/"))}
        report.spectrum = [Measure(name, figures[name], METRICS[name.rsplit("/", 1)[-1]]) for name in CURVES]
    for part in judge.zero_shot:
        right = round(figures[f"zero_shot/{part.group}"] * len(part.labels))
        accuracy = wilson(right, len(part.labels))
        report.zero_shot.append(ZeroShotScore(part.group, len(part.labels), len(part.names), accuracy))
    report.skipped = list(skipped(splits))
    report.notes = notes(report, splits)
    report.choices = [Choice(*choice) for choice in splits.choices] + how_made(
        config, plan, judge.objective, assembly, splits
    )
    report.summary = summary(report)
    return report


def retrieved(name: str, figures: Mapping[str, float], queries: int, among: int) -> Retrieved:
    """Return one direction's recalls with their intervals."""
    found = {k: figures[f"{name}_recall_at_{k}"] for k in KS}
    recalls = {k: wilson(round(share * queries), queries) for k, share in found.items()}
    return Retrieved(DIRECTIONS[name].lower(), queries, among, recalls)  # type: ignore[arg-type]


def panels(log: list[dict[str, Any]]) -> dict[str, dict[str, Curve]]:
    """Return the charts of a log: curves over steps; the zero-shot groups come as they are called."""
    groups = dict.fromkeys(name for record in log for name in record if name.startswith("zero_shot/"))
    zero_shot = {"Zero-shot accuracy": {name.removeprefix("zero_shot/"): name for name in groups}}
    charts = {title: PANELS[title] for title in ("Loss", "Pictures to texts", "Texts to pictures")} | zero_shot | PANELS
    drawn = {title: {name: curve(log, key) for name, key in names.items()} for title, names in charts.items()}
    kept = {title: {name: points for name, points in chart.items() if points} for title, chart in drawn.items()}
    return {title: chart for title, chart in kept.items() if chart}


def curve(log: list[dict[str, Any]], key: str) -> Curve:
    """Return what the log has of one name, over steps."""
    return [(record["step"], record[key]) for record in log if key in record]


def skipped(splits: PairSplits) -> tuple[Any, ...]:
    """Return all inputs that could not be used, those that a stream met among them."""
    return (*splits.skipped, *(splits.train.skipped if isinstance(splits.train, PairStream) else ()))


def notes(report: PretrainReport, splits: PairSplits) -> list[str]:
    """Return what a reader must know to trust the figures."""
    lines = []
    if not report.retrieval:
        lines.append("There are fewer than two test pairs, so that nothing could be measured: give more data.")
    elif report.metrics.get("image/collapsed") or report.metrics.get("text/collapsed"):
        lines.append("The embeddings have collapsed: nearly all of their energy is in one direction.")
    if isinstance(splits.train, PairStream) and processes() > 1:
        lines.append("Of what the stream skipped, the first process' part is listed.")
    return lines


def summary(report: PretrainReport) -> str:
    """Return in one sentence how well the model does."""
    parts = []
    if report.retrieval:
        images, texts = report.retrieval
        parts.append(
            f"{percent(images.recalls[1].value)} of {images.queries:,} test pictures find a caption of theirs first "
            f"among {images.among:,}, and {percent(texts.recalls[1].value)} of the captions a picture of theirs"
        )
    parts += [
        f"{percent(score.accuracy.value)} of {count(score.pictures, 'picture')} have their name found among "
        f"{score.names:,} ({score.group})"
        for score in report.zero_shot
    ]
    return "; ".join(parts) + "." if parts else "Trained; nothing was held out to measure it on."


def how_made(
    config: PretrainConfig, plan: Plan, objective: Objective, assembly: Assembly, splits: PairSplits
) -> list[Choice]:
    """Return every decision of the run, and who made it."""
    defaults = {f.name: f.default for f in dataclasses.fields(PretrainConfig)}

    def choice(what: str, name: str, value: str, default: str) -> Choice:
        return Choice(what, value, default if getattr(config, name) == defaults[name] else "set by you")

    stream, model = isinstance(splits.train, PairStream), assembly.model
    sizes = {side: f"{sum(p.numel() for p in getattr(model, side).parameters()):,} parameters" for side in SIDES}
    learned = "a stream" if stream else count(len(splits.train), "pair")  # type: ignore[arg-type]
    scale = model.logit_scale.exp().item()
    rate = f"{NEW_RATE:g} with a new tower, {WARM_RATE:g} without"
    ran = "" if plan.epochs is None else f", {count(plan.epochs, 'epoch')}"
    warmup = f"{min(2000, plan.steps // 10):,} warm-up steps"
    optimiser = f"AdamW, weight decay {WEIGHT_DECAY} but on biases, norms and what the model names, cosine, {warmup}"
    kept = "all of a batch at once" if config.chunk is None else f"{config.chunk} pairs a process at a time"
    batch = choice("batch", "batch_size", f"{plan.batch_size:,} pairs, over {count(processes(), 'process')}", "ours")
    fewer = (
        f"you asked for {config.batch_size:,}; there are {learned}"
        if plan.batch_size < (config.batch_size or 0)
        else ""
    )
    return [
        choice("image tower", "image_tower", f"{config.image_tower}, {sizes['image']}", "default"),
        choice("text tower", "text_tower", f"{config.text_tower}, {sizes['text']}", "default"),
        choice("locked", "lock", config.lock, "default"),
        Choice("common space", f"{model.config.features} dimensions", "the locked tower's, else the narrower one's"),
        choice("loss", "loss", f"{config.loss}, logit scale {scale:.3g} at the end", "default"),
        choice("SDE", "sde", described(objective), "default"),
        Choice("pairs learned from", learned, "all that are not held out"),
        Choice(
            "views", "random crops, 8/9 to all of a side, one caption at random", "ours: no flips, captions name sides"
        ),
        dataclasses.replace(batch, how=fewer) if fewer else batch,
        choice("activations kept", "chunk", kept, "default"),
        Choice("steps", f"{plan.steps:,}{ran}", "set by you" if config.steps or config.epochs else "ours"),
        choice("learning rate", "learning_rate", f"{plan.learning_rate:g}", rate),
        Choice("optimiser", optimiser, "ours"),
        Choice("temperature", f"at most {torch.tensor(HIGHEST_SCALE).exp():.0f}", "CLIP's"),
        Choice("measured while training", f"on at most {WATCHED:,} validation pairs", "nothing is chosen by it"),
        Choice("stopping", "last step", "ours: nothing is chosen on test pairs"),
        choice("seed", "seed", str(config.seed), "every draw follows from it"),
        Choice("precision", f"{config.precision} on {config.device}", "auto is bf16 on a GPU that has it"),
        Choice("versions", ", ".join(f"{name} {version}" for name, version in versions().items()), "installed here"),
    ]


def described(objective: Objective) -> str:
    """Return SDE's settings in words."""
    settings = getattr(objective.loss, "config", None)
    if settings is None:
        return "off"
    return (
        f"{settings.mode}, alpha {settings.alpha[0]:g} to {settings.alpha[1]:g}, lambda {settings.lam[0]:g} to "
        f"{settings.lam[1]:g}, decay {settings.decay:g}"
    )
