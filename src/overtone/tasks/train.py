"""`overtone train`: train a compact spectral network from scratch, and report how well it does.

Here it is a classifier of pictures; `translate` has the translators.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from overtone.errors import UserError
from overtone.files import write_atomically
from overtone.processes import process_number, processes
from overtone.tasks.options import as_option, require_at_least, require_seed
from overtone.tasks.runs import CHECKPOINTS, begun, require_pictures, write_learned

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from overtone.data import ImageSet, Splits
    from overtone.data.augment import Augmentation
    from overtone.data.pixels import Framing, Pixels, Views
    from overtone.report import Choice
    from overtone.report.training import TrainReport
    from overtone.tasks.classifier import Classifier, Objective
    from overtone.tasks.presets import Preset
    from overtone.tasks.translate import TranslateResult
    from overtone.training import Loop

TENSORBOARD = "tensorboard"
WORKERS = 8  # processes that read pictures ahead, at most, where they are not in memory
RECIPE = ("epochs", "batch_size", "learning_rate")  # what the user can set of a recipe
CURVES = ("loss", "training_accuracy", "validation_accuracy")
LEAST_STEPS = 8  # an epoch, where the recipe's batch is not asked for by the user
SAMPLED = 2000  # training pictures that the accuracy on them is taken from
# By task, the options that mean nothing to it
FOREIGN = {"classify": ("steps", "cross", "languages"), "translate": ("epochs", "image_column", "label_column")}


@dataclass(frozen=True)
class TrainConfig:
    """Train a compact spectral network from scratch, a classifier or a translator, and report how well it does."""

    data: Positional[str]
    """`fashion-mnist`, `emoji`, a folder of class folders (CIFAR and ImageNet are known), a table, or a hub id. To
    translate: `debian-en-de`, a folder with train.en, train.de and so on, a table, or a hub id."""
    out: Annotated[str, arg(aliases=["-o"])] = ""
    """The run folder; runs/<data>, numbered, when not given."""
    task: Literal["classify", "translate"] = "classify"
    """Tell classes of pictures apart, or translate sentences."""
    preset: Literal["auto", "cifar", "imagenet", "fashion-mnist", "pictures", "wmt14", "small", "mini", "tiny"] = "auto"
    """The recipe: the paper's for cifar, imagenet and wmt14, ours for the others; auto takes the data's own, or
    pictures. To translate: wmt14, small (for a GPU), mini or tiny; auto takes small on a GPU, else tiny."""
    mixer: Literal["shfin", "attention", "gfnet", "afno", "fnet", "conv"] = "shfin"
    """What mixes positions (a translator's in its encoder), all else the same; but some recipes' feed-forwards act on
    kept frequencies, which shfin alone has."""
    languages: Annotated[str | None, arg(metavar="STR")] = None
    """From which language and to which to translate; en-de when not given."""
    cross: Annotated[Literal["attention", "shfin"] | None, arg(metavar="{attention,shfin}")] = None
    """What a translator's decoder attends to: positions (attention), or spectra of patches of them (shfin)."""
    epochs: Annotated[int | None, arg(metavar="INT")] = None
    """Passes over the training pictures; the recipe's when not given."""
    steps: Annotated[int | None, arg(metavar="INT")] = None
    """Steps of a translator's training; the recipe's when not given."""
    batch_size: Annotated[int | None, arg(metavar="INT")] = None
    """Pictures, or tokens of each language, a step, over all processes; the recipe's when not given."""
    learning_rate: Annotated[float | None, arg(metavar="FLOAT")] = None
    """At its highest; the recipe's when not given."""
    seed: int = 0
    """Every random draw follows from it."""
    device: str = "auto"
    """auto, cpu, cuda or mps; torchrun trains on several at once."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of the training's arithmetic; auto is bf16 on a GPU that has it."""
    tensorboard: bool = False
    """Write the curves for TensorBoard too, into the run folder (needs overtone[tensorboard])."""
    image_column: Annotated[str | None, arg(metavar="STR")] = None
    """The table's column of image paths; found by its name when not given."""
    label_column: Annotated[str | None, arg(metavar="STR")] = None
    """The table's column of class names; found by its name when not given."""
    resume: bool = False
    """Go on with the interrupted run in --out (the last one of this data when not given)."""

    def __post_init__(self) -> None:
        """Raise UserError for a number out of range."""
        require_at_least(self, epochs=1, steps=1, batch_size=1)
        require_seed(self.seed)
        for option in FOREIGN[self.task]:
            if getattr(self, option) is not None:
                raise UserError(f"{as_option(option)} is not for --task {self.task}.")
        if self.learning_rate is not None and not 0 < self.learning_rate < float("inf"):
            raise UserError(f"--learning-rate {self.learning_rate}: give a number above 0.")


@dataclass(frozen=True)
class TrainResult:
    """A finished run: its folder, the classifier and the report that was written."""

    folder: Path
    classifier: "Classifier"
    report: "TrainReport"


@dataclass(frozen=True)
class Sets:
    """The pictures of a run, read."""

    train: "Pixels"
    val: "Pixels | None"
    test: "Pixels"


def train(config: TrainConfig, network: "PreTrainedModel | None" = None) -> "TrainResult | TranslateResult":
    """Run the whole job: read, train, judge, write.

    From Python, any image classifier of transformers, such as a ViT or a ResNet made from a config, can be given as
    `network`, and is trained by the same recipe. It sees pictures of its config's `image_size`, where it has one.

    Raises UserError for what the user can mend, and KeyboardInterrupt that says how to go on.
    """
    from overtone.data import load
    from overtone.tasks.translate import train_translator

    if config.task == "translate":
        return train_translator(config)
    config, preset = settled(config)
    splits = load(config.data, config.seed, None, config.image_column, config.label_column)
    if config.batch_size is None:
        preset = dataclasses.replace(preset, batch_size=batch_size(preset, len(splits.train)))
    with begun(config, resolved(preset, splits, network)) as folder:
        sets, splits = read(config, splits, preset, network)
        classifier = build(config, preset, sets.train, network)
        log = fit(config, preset, classifier, sets, folder)
        report = judge(config, preset, classifier, sets, splits, log)
        if not process_number():
            write(folder, classifier, report, splits.train)
    return TrainResult(folder, classifier, report)


def settled(config: TrainConfig) -> "tuple[TrainConfig, Preset]":
    """Return the settings with nothing left open, and the recipe with what the user set in it."""
    from overtone.tasks.presets import PRESETS, choose_preset
    from overtone.training import pick_device, pick_precision, summary_writer

    if config.tensorboard:
        summary_writer()  # it is missed now or never
    device = pick_device(config.device)
    precision = pick_precision(config.precision, device)
    name = choose_preset(config.data) if config.preset == "auto" else config.preset
    if name not in PRESETS:
        raise UserError(f"--preset {name} is for --task translate. For pictures there are {', '.join(PRESETS)}.")
    own = {key: getattr(config, key) for key in RECIPE if getattr(config, key) is not None}
    config = dataclasses.replace(config, preset=name, device=device, precision=precision)
    return config, dataclasses.replace(PRESETS[name], **own)


def batch_size(preset: "Preset", pictures: int) -> int:
    """Return the recipe's batch, or a smaller one for a small set, that an epoch has LEAST_STEPS steps."""
    smaller = max(pictures // LEAST_STEPS // processes(), 1) * processes()
    return min(preset.batch_size, smaller)


def resolved(preset: "Preset", splits: "Splits", network: "PreTrainedModel | None") -> dict[str, Any]:
    """Return what the run learns by and from, which its settings may leave open."""
    given = {} if network is None else {"network": f"{type(network).__name__}, {network.num_parameters():,} parameters"}
    recipe = {key: getattr(preset, key) for key in RECIPE}
    return {**recipe, "train_pictures": len(splits.train), "processes": processes(), **given}


def read(
    config: TrainConfig, splits: "Splits", preset: "Preset", network: "PreTrainedModel | None"
) -> "tuple[Sets, Splits]":
    """Open all pictures once, and return them with the splits, less the bad ones and those of classes never seen."""
    from overtone.data.pixels import read_pixels
    from overtone.tasks.reading import Reading
    from overtone.training import own_device

    framing = preset.framing if network is None else _framed(preset.framing, network)
    device, watch = own_device(config.device), Reading()
    while True:
        train, bad_train = read_pixels(splits.train, framing, device, watch)
        val, bad_val = read_pixels(splits.val, framing, device) if splits.val else (None, [])
        test, bad_test = read_pixels(splits.test, framing, device)
        bad = [*bad_train, *bad_val, *bad_test]
        if not bad or not splits.anew:
            break
        splits = splits.anew(bad)  # what is held out is a part of the good pictures
    choices = splits.choices
    if splits.unseen:
        left = ("test pictures left out", f"{len(splits.unseen):,}", "of classes that there is nothing to learn from")
        choices = (*choices, left)
    splits = dataclasses.replace(
        splits,
        train=train.images,
        val=val.images if val else None,
        test=test.images,
        unseen=None,
        skipped=(*splits.skipped, *bad),
        choices=choices,
    )
    require_pictures(splits, "take the class out of the data")
    return Sets(train, val, test), splits


def build(config: TrainConfig, preset: "Preset", train: "Pixels", network: "PreTrainedModel | None") -> "Classifier":
    """Return the network, with fresh weights drawn under the seed where none is given, and what stands around it."""
    import torch

    from overtone.data.pixels import Normalise, mean_and_deviation
    from overtone.models.shfin import ShfinForImageClassification
    from overtone.tasks.classifier import Classifier
    from overtone.training import own_device

    classes, framing = train.images.classes, train.framing
    if network is None:
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            network = ShfinForImageClassification(preset.network(len(classes), config.mixer))
    classifier = Classifier(network, classes, framing, Normalise(*mean_and_deviation(train)))
    return classifier.to(own_device(config.device))


def fit(
    config: TrainConfig, preset: "Preset", classifier: "Classifier", sets: Sets, folder: Path
) -> list[dict[str, Any]]:
    """Train the classifier's network and return the log."""
    from overtone import training
    from overtone.data.pixels import Views
    from overtone.tasks.classifier import Objective

    objective = Objective(classifier, preset.augmentation, preset.smoothing)
    views = Views(sets.train, preset.augmentation, config.seed)
    settings = training.TrainingConfig(
        epochs=preset.epochs,
        batch_size=min(preset.batch_size, len(views) // processes() * processes()),
        learning_rate=preset.learning_rate,
        weight_decay=preset.weight_decay,
        warmup_epochs=preset.warmup_epochs,
        seed=config.seed,
        precision=training.pick_precision(config.precision, config.device),
        device=config.device,
    )
    measure, loop = _measure(classifier, sets), _loop(config, objective, views, folder)
    return training.train(objective, views, _as_it_is, settings, folder / CHECKPOINTS, config.resume, measure, loop)


def judge(
    config: TrainConfig,
    preset: "Preset",
    classifier: "Classifier",
    sets: Sets,
    splits: "Splits",
    log: list[dict[str, Any]],
) -> "TrainReport":
    """Score the classifier on the test pictures, and say how it was made."""
    from overtone.report import Choice
    from overtone.tasks.scoring import training_report

    choices = [Choice(*choice) for choice in splits.choices] + how_trained(config, preset, classifier, sets)
    report = training_report(f"Trained on {config.data}", classifier, sets.test, choices)
    report.skipped = list(splits.skipped)
    for curve in CURVES:
        if points := [(record["epoch"], record[curve]) for record in log if curve in record]:
            report.curves[curve.replace("_", " ")] = points
    return report


def how_trained(config: TrainConfig, preset: "Preset", classifier: "Classifier", sets: Sets) -> "list[Choice]":
    """Return every decision of the run, and who made it."""
    from overtone.data.names import count
    from overtone.farl.adapter import versions
    from overtone.report import Choice

    recipe = f"the recipe {config.preset}: {preset.source}"

    def choice(what: str, name: str, value: str) -> Choice:
        return Choice(what, value, recipe if getattr(config, name) is None else "set by you")

    network, framing = classifier.network, sets.train.framing
    mixer = getattr(network.config, "mixer", None)
    size = (
        f"{network.num_parameters():,} parameters, {framing.size} x {framing.size} pixels, {framing.channels} channels"
    )
    decay = f"weight decay {preset.weight_decay} but on biases, norms and what the network names"
    optimiser = f"AdamW, {decay}, cosine, {preset.warmup_epochs} warm-up epochs"
    return [
        Choice("recipe", config.preset, preset.source),
        Choice(
            "network", f"{mixer or type(network).__name__}, {size}", "the recipe's sizes" if mixer else "set by you"
        ),
        Choice("pictures learned from", f"{len(sets.train):,} of {len(classifier.classes):,} classes", "all there are"),
        Choice("views", described(preset.augmentation), recipe),
        Choice("optimiser", optimiser, recipe),
        choice("learning rate", "learning_rate", f"{preset.learning_rate:g}"),
        choice("epochs", "epochs", str(preset.epochs)),
        choice("batch", "batch_size", f"{preset.batch_size} pictures, over {count(processes(), 'process')}"),
        Choice("label smoothing", str(preset.smoothing), recipe),
        Choice("stopping", "last step", "ours: nothing is chosen on test pictures"),
        Choice("seed", str(config.seed), "every draw follows from it"),
        Choice("precision", f"{config.precision} on {config.device}", "auto is bf16 on a GPU that has it"),
        Choice("versions", ", ".join(f"{name} {version}" for name, version in versions().items()), "installed here"),
    ]


def described(augmentation: "Augmentation") -> str:
    """Return in words what is drawn for each picture."""
    parts = []
    if augmentation.padding:
        parts.append(f"{augmentation.padding} pixels of padding ({augmentation.border})")
    parts.append("random crops" + (" of random size" if augmentation.resize else ""))
    if augmentation.flip != "never":
        parts.append(f"{augmentation.flip} flips")
    if augmentation.erase:
        parts.append(f"erasing in {100 * augmentation.erase:g} % of pictures")
    if augmentation.mix:
        parts.append(f"mixup with alpha {augmentation.mix:g}")
    return ", ".join(parts)


def write(folder: Path, classifier: "Classifier", report: "TrainReport", learned: "ImageSet") -> None:
    """Write everything a run leaves; classifier.json comes last, so that a folder with it is whole."""
    from overtone.report.training_files import training_card, write_training_figures

    write_training_figures(report, folder)
    front = {"library_name": "overtone", "pipeline_tag": "image-classification", "tags": ["shfin"]}
    write_atomically(folder / "README.md", training_card(report, front))
    write_learned(folder, learned)
    classifier.save(folder)


def _measure(classifier: "Classifier", sets: Sets) -> Callable[[], dict[str, float]]:
    """Return what measures the accuracy after an epoch: on some training pictures, and on the validation pictures."""
    sample = sets.train.sample(SAMPLED)

    def measure() -> dict[str, float]:
        figures = {"training_accuracy": classifier.accuracy(sample)}
        return figures | ({"validation_accuracy": classifier.accuracy(sets.val)} if sets.val else {})

    return measure


def _loop(config: TrainConfig, objective: "Objective", views: "Views", folder: Path) -> "Loop":
    """Return what the training needs beside its settings."""
    from overtone.data.pixels import threads
    from overtone.models.shfin import anneal
    from overtone.training import Anneal, Loop

    return Loop(
        doing="training",
        pace=True,
        whole_batches=True,
        undecayed=objective.undecayed(),
        workers=0 if views.in_memory else min(WORKERS, threads()),
        pinned=not views.in_memory,
        tensorboard=folder / TENSORBOARD if config.tensorboard else None,
        callbacks=(Anneal(lambda fraction: anneal(objective.network, fraction, config.seed)),),
    )


def _framed(framing: "Framing", network: "PreTrainedModel") -> "Framing":
    """Return the recipe's framing, with the size and the channels that a network of the user's own asks for."""
    size: Any = getattr(network.config, "image_size", framing.size)
    if not isinstance(size, int):
        if len(set(size)) > 1:
            raise UserError(f"The network takes pictures of {size[0]} x {size[1]}: only square ones are made here.")
        size = size[0]
    stored = round(size * framing.stored / framing.size)
    return dataclasses.replace(framing, size=size, stored=stored, channels=network.config.num_channels)


def _as_it_is(batch: Any) -> Any:
    """Return a batch that is one already."""
    return batch
