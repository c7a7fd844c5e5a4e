"""`overtone pretrain`: train an image and a text encoder into one space from image-text pairs, and report how well."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from overtone.errors import UserError
from overtone.files import write_atomically
from overtone.processes import process_number, processes
from overtone.tasks.folders import resolved_data
from overtone.tasks.options import require_at_least, require_seed
from overtone.tasks.runs import CHECKPOINTS, FINISHED, begun, check_folder

if TYPE_CHECKING:
    from overtone.data import ImageSet
    from overtone.data.loading import Tests
    from overtone.data.pairs import PairSplits
    from overtone.models.assembly import Assembly
    from overtone.report.pretrain import PretrainReport
    from overtone.tasks.pretrain_data import SetBatches, StreamBatches
    from overtone.tasks.pretrain_model import Objective
    from overtone.training import Steps

EPOCHS, BATCH = 30, 256
LEAST_STEPS = 8  # an epoch, where the batch is not asked for by the user
NEW_RATE, WARM_RATE = 1e-3, 1e-4  # with a tower that starts new, and where all come with weights
WEIGHT_DECAY = 0.05
MEASUREMENTS = 10  # of a run
LONG = 500  # steps from which not each of them is a record, but each LOGGED-th
LOGGED = 10
WORKERS = 8  # processes that read ahead, at most, where pictures are not in memory


@dataclass(frozen=True)
class PretrainConfig:
    """Train an image and a text encoder into one space from image-text pairs, and report how well they match."""

    data: Positional[str]
    """`emoji`, a folder of pictures beside .txt files, a table, parquet, .tar shards (x-{00..09}.tar), or a hub id."""
    out: Annotated[str, arg(aliases=["-o"])] = ""
    """The run folder; runs/<data>, numbered, when not given."""
    image_tower: str = "conv"
    """New: conv, or shfin, which takes --chunk but learned less in our runs; or a config's JSON file. With weights:
    embedded, a folder or a hub id."""
    text_tower: str = "embedded"
    """New: transformer, or a config's JSON file. With weights: embedded, a folder or a hub id."""
    lock: Literal["none", "image", "text"] = "none"
    """The tower that keeps its weights; the other learns to match it (LiT)."""
    loss: Literal["infonce", "siglip"] = "infonce"
    """CLIP's loss or SigLIP's."""
    sde: Literal["on", "off"] = "on"
    """Spectral disentanglement and enhancement (SDE) around the loss."""
    epochs: Annotated[int | None, arg(metavar="INT")] = None
    """Passes over the training pairs; 30 when neither they nor --steps are given."""
    steps: Annotated[int | None, arg(metavar="INT")] = None
    """Steps in all, instead of epochs; a stream needs them."""
    batch_size: Annotated[int | None, arg(metavar="INT")] = None
    """Pairs a step, over all processes, each the others' negative; 256, or fewer for a small set, when not given."""
    chunk: Annotated[int | None, arg(metavar="INT")] = None
    """Pairs that a process keeps in memory at a time: large batches on small memory, for a second forward pass."""
    learning_rate: Annotated[float | None, arg(metavar="FLOAT")] = None
    """At its highest; 1e-3 with a new tower, else 1e-4, when not given."""
    seed: int = 0
    """Every random draw follows from it."""
    device: str = "auto"
    """auto, cpu, cuda or mps; torchrun trains on several at once."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of the training's arithmetic; auto is bf16 on a GPU that has it. Losses and spectra are always fp32."""
    image_column: Annotated[str | None, arg(metavar="STR")] = None
    """The column of pictures; found by its name when not given."""
    caption_column: Annotated[str | None, arg(metavar="STR")] = None
    """The column of captions; found by its name when not given."""
    zero_shot: Annotated[str | None, arg(metavar="DATA")] = None
    """Labelled pictures (class folders or a table): how many are told by the names of their classes, as it trains."""
    stream: bool = False
    """Read a hub set as it comes, without downloading it first."""
    resume: bool = False
    """Go on with the interrupted run in --out (the last one of this data when not given)."""

    def __post_init__(self) -> None:
        """Raise UserError for a number out of range."""
        require_at_least(self, epochs=1, steps=1, batch_size=1, chunk=1)
        require_seed(self.seed)
        if self.batch_size == 1:
            raise UserError("--batch-size 1: a pair alone has nothing to be told from. Give 2 or more.")
        if self.epochs is not None and self.steps is not None:
            raise UserError("--epochs and --steps say the same: give one of them.")
        if self.learning_rate is not None and not 0 < self.learning_rate < float("inf"):
            raise UserError(f"--learning-rate {self.learning_rate}: give a number above 0.")


@dataclass(frozen=True)
class PretrainResult:
    """A finished run: its folder, the model with what stands before it, and the report that was written."""

    folder: Path
    assembly: "Assembly"
    report: "PretrainReport"


@dataclass(frozen=True)
class Plan:
    """What the settings leave open, settled."""

    batch_size: int
    steps: int
    epochs: int | None  # None for a stream
    learning_rate: float
    workers: int


def pretrain(config: PretrainConfig, assembly: "Assembly | None" = None) -> PretrainResult:
    """Run the whole job: read, train, judge, write.

    From Python, a dual encoder of any towers can be given as `assembly` (`overtone.models.assembly.assemble`).

    Raises UserError for what the user can mend, and KeyboardInterrupt that says how to go on.
    """
    config = settled(config)
    check_folder(config)
    assembly = assembly or build(config)
    splits, labelled = read(config)
    plan = planned(config, assembly, splits)
    with begun(config, resolved(config, plan, assembly, splits)) as folder:
        objective, log = fit(config, plan, assembly, splits, labelled, folder)
        report = judge(config, plan, objective, assembly, splits, labelled, log)
        if not process_number():
            write(folder, config, assembly, report)
    return PretrainResult(folder, assembly, report)


def settled(config: PretrainConfig) -> PretrainConfig:
    """Return the settings with device and precision picked."""
    from overtone.training import pick_device, pick_precision

    device = pick_device(config.device)
    return dataclasses.replace(config, device=device, precision=pick_precision(config.precision, device))


def build(config: PretrainConfig) -> "Assembly":
    """Return the model at its start."""
    from overtone.models.assembly import assemble, read_side

    image, text = read_side("image", config.image_tower), read_side("text", config.text_tower)
    return assemble(image, text, config.lock, config.loss == "siglip", config.seed)


def read(config: PretrainConfig) -> "tuple[PairSplits, dict[str, ImageSet]]":
    """Return the pairs, and by its name the data of --zero-shot, if any.

    Every picture can be opened but those of a stream, which are opened as it goes.
    """
    from overtone.data.pairs import check_pairs, load_pairs
    from overtone.tasks.reading import Reading

    tests = {} if config.zero_shot is None else {config.zero_shot: read_labelled(config.zero_shot)}
    columns = (config.image_column, config.caption_column)
    splits = load_pairs(config.data, *columns, seed=config.seed, stream=config.stream, watch=Reading())
    splits = check_pairs(splits, Reading())
    for found in tests.values():
        skipped, choices = (*splits.skipped, *found.skipped), (*splits.choices, *found.choices)
        splits = dataclasses.replace(splits, skipped=skipped, choices=choices)
    return splits, {name: found.images for name, found in tests.items()}


def read_labelled(data: str) -> "Tests":
    """Return the pictures that can be opened, to be classified without training; UserError for one class alone."""
    from overtone.data import check
    from overtone.data.loading import load_tests

    tests = load_tests(data)
    images, bad = check(tests.images)
    if len(images.classes) < 2:
        raise UserError(f"--zero-shot {data!r}: one class alone, {images.classes[0]!r}. Give two or more.")
    choices = tuple((f"zero-shot: {what}", value, how) for what, value, how in tests.choices)
    return dataclasses.replace(tests, images=images, skipped=(*tests.skipped, *bad), choices=choices)


def planned(config: PretrainConfig, assembly: "Assembly", splits: "PairSplits") -> Plan:
    """Return batch, steps and rate: those that were given, and ours for the rest. Raises UserError."""
    from overtone.data.pairs import PairStream
    from overtone.data.pixels import MEMORY, threads
    from overtone.tasks.pretrain_data import framing

    rate = config.learning_rate or usual_rate(assembly)
    readers = min(WORKERS, threads())
    if isinstance(splits.train, PairStream):
        if config.steps is None:
            raise UserError("The data is a stream, whose length nobody knows: say how long to train with --steps.")
        # No more than there are shards: a shard that is shared out may leave each reader too little for a batch
        readers = min(readers, max(1, len(splits.train.shards) // processes()))
        return Plan(config.batch_size or BATCH, config.steps, None, rate, readers)
    pairs, least = len(splits.train), 2 * processes()
    smaller = max(pairs // LEAST_STEPS // processes() * processes(), least)
    batch = min(config.batch_size or min(BATCH, smaller), pairs // processes() * processes())
    if batch < 2:
        raise UserError(f"{pairs} training pairs are too few for {processes()} processes.")
    an_epoch = pairs // batch
    steps = config.steps or (config.epochs or EPOCHS) * an_epoch
    in_memory = pairs * 3 * framing(assembly.model.config.image_size).stored ** 2 <= MEMORY
    return Plan(batch, steps, -(-steps // an_epoch), rate, 0 if in_memory else readers)


def usual_rate(assembly: "Assembly") -> float:
    """Return the learning rate for a model that starts so: where a tower has parts that are new, the higher."""
    new = any(name.startswith(("image.", "text.")) for name in assembly.fresh)
    return NEW_RATE if new else WARM_RATE


def resolved(config: PretrainConfig, plan: Plan, assembly: "Assembly", splits: "PairSplits") -> dict[str, Any]:
    """Return what the run learns by and from, which its settings may leave open."""
    from overtone.data.pairs import PairStream

    stream = isinstance(splits.train, PairStream)
    size = f"{assembly.model.num_parameters():,} parameters, {assembly.model.config.features} features"
    read_by = {"workers": plan.workers} if stream else {"train_pairs": len(splits.train)}  # type: ignore[arg-type]
    recipe = {"batch_size": plan.batch_size, "steps": plan.steps, "learning_rate": plan.learning_rate}
    labelled = {} if config.zero_shot is None else {"zero_shot": resolved_data(config.zero_shot)}
    return {**recipe, "model": size, "processes": processes(), **read_by, **labelled}


def fit(
    config: PretrainConfig,
    plan: Plan,
    assembly: "Assembly",
    splits: "PairSplits",
    labelled: "dict[str, ImageSet]",
    folder: Path,
) -> "tuple[Objective, list[dict[str, Any]]]":
    """Train the model; return it with its loss, and the log."""
    from overtone import training
    from overtone.tasks.pretrain_judging import WATCHED, Judge, evaluation_pairs, zero_shot_sets
    from overtone.tasks.pretrain_model import Objective, make_loss

    objective = Objective(assembly, make_loss(config.loss, config.sde == "on", plan.steps), config.lock, config.chunk)
    preparation = assembly.preparation
    watched = evaluation_pairs(splits.validation, preparation, WATCHED)
    named = zero_shot_sets(config.data, splits.validation, preparation, WATCHED, labelled)
    settings = training.TrainingConfig(
        batch_size=plan.batch_size,
        learning_rate=plan.learning_rate,
        weight_decay=WEIGHT_DECAY,
        seed=config.seed,
        precision=training.pick_precision(config.precision, config.device),
        device=config.device,
    )
    loop = training.Loop(
        doing="pre-training",
        pace=True,
        undecayed=objective.undecayed(),
        workers=plan.workers,
        callbacks=(training.Anneal(lambda fraction: assembly.model.set_progress(fraction, config.seed)),),
        steps=rhythm(plan.steps),
    )
    data, out = batches(config, plan, assembly, splits), folder / CHECKPOINTS
    judge = Judge(objective, preparation, watched, named)
    log = training.train(objective, data, None, settings, out, config.resume, judge.watched, loop)
    return objective, log


def rhythm(steps: int) -> "Steps":
    """Return when to write a record and when to measure, in a training of so many steps."""
    from overtone.training import Steps

    logged = LOGGED if steps >= LONG else 1
    return Steps(steps, measured=max(1, round(steps / MEASUREMENTS / logged)) * logged, logged=logged)


def batches(
    config: PretrainConfig, plan: Plan, assembly: "Assembly", splits: "PairSplits"
) -> "SetBatches | StreamBatches":
    """Return what is learned from, in batches without an end."""
    from overtone.data.pairs import PairStream
    from overtone.tasks.pretrain_data import SetBatches, StreamBatches, read_training
    from overtone.tasks.reading import Reading

    size, tokenize = assembly.preparation.size, assembly.preparation.tokenize
    if isinstance(splits.train, PairStream):
        return StreamBatches(splits.train, size, tokenize, plan.batch_size, config.seed)
    pixels = read_training(splits.train, size, Reading())
    return SetBatches(splits.train, pixels, tokenize, plan.batch_size, config.seed)


def judge(
    config: PretrainConfig,
    plan: Plan,
    objective: "Objective",
    assembly: "Assembly",
    splits: "PairSplits",
    labelled: "dict[str, ImageSet]",
    log: list[dict[str, Any]],
) -> "PretrainReport":
    """Measure the model on the test pairs, and say how it was made."""
    from overtone.tasks.pretrain_judging import Judge, evaluation_pairs, zero_shot_sets
    from overtone.tasks.pretrain_reporting import build_report

    preparation = assembly.preparation
    tests = evaluation_pairs(splits.test, preparation)
    named = zero_shot_sets(config.data, splits.test, preparation, labelled=labelled)
    return build_report(config, plan, Judge(objective, preparation, tests, named), assembly, splits, log)


def write(folder: Path, config: PretrainConfig, assembly: "Assembly", report: "PretrainReport") -> None:
    """Write everything a run leaves; pretraining.json comes last, so that a folder with it is whole."""
    from overtone.models.backbone import PRETRAINED
    from overtone.report.pretrain_files import pretrain_card, write_pretrain_figures

    write_pretrain_figures(report, folder)
    tags = ["contrastive", config.loss, *(["sde"] if config.sde == "on" else [])]
    front = {"library_name": "overtone", "pipeline_tag": "zero-shot-image-classification", "tags": tags}
    card = pretrain_card(report, front)
    assembly.save(folder / PRETRAINED)
    write_atomically(folder / PRETRAINED / "README.md", card)
    write_atomically(folder / "README.md", card)
    described = {"format": 1, "model": PRETRAINED, "summary": report.summary}
    write_atomically(folder / FINISHED["pretrain"], json.dumps(described, indent=2, ensure_ascii=False) + "\n")
