"""`overtone train --task translate`: train a translator from scratch, and report how well it does."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overtone.errors import UserError
from overtone.files import write_atomically
from overtone.processes import process_number, processes
from overtone.tasks.folders import resolved_data
from overtone.tasks.runs import CHECKPOINTS, begun, check_folder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from overtone.data.parallel import ParallelSplits, Sentences
    from overtone.report.translation import TranslationReport
    from overtone.tasks.train import TrainConfig
    from overtone.tasks.translate_data import Encoded, PairBatches
    from overtone.tasks.translate_presets import TranslationPreset
    from overtone.tasks.translator import Translator
    from overtone.training import Loop, Steps

RECIPE = ("steps", "batch_size", "learning_rate")  # what the user can set of a recipe
MEASUREMENTS, RECORDS = 20, 5  # measurements of a training, and records of the loss from one to the next
WATCHED = 200  # validation sentences that are translated while training
LANGUAGES = "en-de"  # when none are given: the seed's experiment
AVERAGED = 5  # checkpoints (Vaswani et al. 2017, section 6.1)
HELD_OUT = "held_out"  # in translator.json: which test sentences the run did not learn from
SUBWORDS = "subwords"  # beside the checkpoints: a run that goes on takes them as they are


@dataclass(frozen=True)
class TranslateResult:
    """A finished run: its folder, the translator and the report that was written."""

    folder: Path
    translator: "Translator"
    report: "TranslationReport"


@dataclass(frozen=True)
class Learned:
    """What a run learns from: the sentences as subwords, and how they are cut into these."""

    tokenizer: "PreTrainedTokenizerFast"
    source: "Encoded"
    target: "Encoded"


def train_translator(config: "TrainConfig") -> TranslateResult:
    """Run the whole job: read, make subwords, train, average, judge, write.

    Raises UserError for what the user can mend, and KeyboardInterrupt that says how to go on.
    """
    from overtone.data.parallel import load_parallel
    from overtone.tasks.translate_reporting import build_report

    config, preset = settled(config)
    check_folder(config)
    source, target = languages(config.languages or LANGUAGES)
    splits = load_parallel(config.data, config.seed, source, target)
    require_sentences(splits, config.data)
    with begun(config, resolved(config, preset, splits)) as folder:
        learned = cut_into_subwords(preset, splits.train, folder / CHECKPOINTS, config.resume)
        translator = build(config, preset, learned.tokenizer, splits)
        log = fit(config, preset, translator, learned, splits.val, folder)
        report = build_report(config, preset, translator, learned, splits, log)
        if not process_number():
            write(folder, config, translator, report)
    return TranslateResult(folder, translator, report)


def settled(config: "TrainConfig") -> "tuple[TrainConfig, TranslationPreset]":
    """Return the settings with nothing left open, and the recipe as it is to be followed, with what the user set."""
    from overtone.models.translation_layers import TEXT_MIXERS
    from overtone.tasks.translate_presets import TRANSLATION_PRESETS, choose_translation_preset
    from overtone.training import pick_device, pick_precision, summary_writer

    if config.mixer not in TEXT_MIXERS:
        raise UserError(f"--mixer {config.mixer} is not for sentences. Take one of {', '.join(TEXT_MIXERS)}.")
    if config.tensorboard:
        summary_writer()  # it is missed now or never
    device = pick_device(config.device)
    name = choose_translation_preset(device) if config.preset == "auto" else config.preset
    if name not in TRANSLATION_PRESETS:
        raise UserError(f"--preset {name} is for pictures. Translators have {', '.join(TRANSLATION_PRESETS)}.")
    own = {key: getattr(config, key) for key in RECIPE if getattr(config, key) is not None}
    config = dataclasses.replace(config, preset=name, device=device, precision=pick_precision(config.precision, device))
    preset = dataclasses.replace(TRANSLATION_PRESETS[name], **own)
    return config, dataclasses.replace(preset, warmup=min(preset.warmup, preset.steps // 2))


def languages(pair: str) -> tuple[str, str]:
    """Return the two languages that "en-de" names; UserError when it names no two."""
    source, _, target = pair.partition("-")
    if not source or not target or source == target:
        raise UserError(f"--languages {pair!r}: give two, such as en-de, from which and to which to translate.")
    return source, target


def require_sentences(splits: "ParallelSplits", data: str) -> None:
    """Raise UserError when there is nothing to learn from or to be judged on."""
    for part, sentences in (("learn from", splits.train), ("be judged on", splits.test)):
        if not len(sentences):
            first = [f" The first of those skipped, {item.source}: {item.reason}." for item in splits.skipped[:1]]
            raise UserError(f"There is no sentence to {part} in {data!r}.{''.join(first)}")


def resolved(config: "TrainConfig", preset: "TranslationPreset", splits: "ParallelSplits") -> dict[str, Any]:
    """Return what the run learns by and from, which its settings may leave open."""
    recipe = {key: getattr(preset, key) for key in RECIPE}
    return {**recipe, "data": place_of(config.data), "train_pairs": len(splits.train), "processes": processes()}


def place_of(data: str) -> str:
    """Return the data's full path, or its name where it is called by one."""
    from overtone.data.parallel.debian import DEBIAN

    return data if data == DEBIAN else resolved_data(data)


def cut_into_subwords(preset: "TranslationPreset", train: "Sentences", folder: Path, resume: bool) -> Learned:
    """Return the sentences to learn from as subwords of both languages, made from them and kept in `folder`."""
    import tempfile

    from transformers import PreTrainedTokenizerFast

    from overtone.data.parallel import train_subwords
    from overtone.tasks.translate_data import encode

    kept = folder / SUBWORDS
    if resume and (kept / "tokenizer.json").is_file():
        tokenizer = PreTrainedTokenizerFast.from_pretrained(kept, local_files_only=True)
    elif process_number():  # every process makes the same, and the first keeps them
        with tempfile.TemporaryDirectory() as own:
            tokenizer = train_subwords(train, preset.vocabulary, Path(own))
    else:
        tokenizer = train_subwords(train, preset.vocabulary, kept)
    source, target = (encode(tokenizer, texts, preset.limit) for texts in (train.source, train.target))
    return Learned(tokenizer, source, target)


def build(
    config: "TrainConfig", preset: "TranslationPreset", tokenizer: "PreTrainedTokenizerFast", splits: "ParallelSplits"
) -> "Translator":
    """Return the network, with fresh weights drawn under the seed, and what stands around it."""
    import torch

    from overtone.models.translation import ShfinForTranslation
    from overtone.tasks.translator import Translator
    from overtone.training import own_device

    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        network = ShfinForTranslation(preset.network(tokenizer, mixer=config.mixer, cross=config.cross or "attention"))
    made = {HELD_OUT: splits.test.fingerprint}
    translator = Translator(network, tokenizer, splits.source_language, splits.target_language, preset.limit, made)
    return translator.to(own_device(config.device))


def fit(
    config: "TrainConfig",
    preset: "TranslationPreset",
    translator: "Translator",
    learned: Learned,
    val: "Sentences",
    folder: Path,
) -> list[dict[str, Any]]:
    """Train the translator's network, give it the mean of its last weights, and return the log."""
    from overtone import training
    from overtone.tasks.translate_data import TokenBatches
    from overtone.tasks.translate_training import SNAPSHOTS, Snapshots, average

    out, network = folder / CHECKPOINTS, translator.network
    kept = averaged_steps(preset.steps)
    settings = training.TrainingConfig(
        batch_size=preset.batch_size,
        learning_rate=preset.learning_rate,
        weight_decay=preset.weight_decay,
        seed=config.seed,
        precision=training.pick_precision(config.precision, config.device),
        device=config.device,
    )
    data = TokenBatches(_pairs(translator, learned.source, learned.target), preset.batch_size, config.seed)
    snapshots = Snapshots(out / SNAPSHOTS, kept)
    loop = _loop(config, preset, translator, snapshots, folder)
    measure = _watch(preset, translator, val)
    log = training.train(network, data, None, settings, out, config.resume, measure, loop)
    average(network, out / SNAPSHOTS, kept)
    return log


def rhythm(steps: int) -> "Steps":
    """Return when to write a record and when to measure, in a training of so many steps."""
    from overtone.training import Steps

    logged = max(1, steps // (MEASUREMENTS * RECORDS))
    return Steps(steps, measured=min(steps, logged * RECORDS), logged=logged)


def averaged_steps(steps: int) -> list[int]:
    """Return the steps of a training of so many whose weights are averaged: those of the last records."""
    apart = rhythm(steps).logged
    return [step for step in range(steps - (AVERAGED - 1) * apart, steps + 1, apart) if step > 0]


def write(folder: Path, config: "TrainConfig", translator: "Translator", report: "TranslationReport") -> None:
    """Write everything a run leaves; translator.json comes last, so that a folder with it is whole."""
    from overtone.report.translation_files import translation_card, write_translation_figures

    write_translation_figures(report, folder)
    spoken = [translator.source, translator.target]
    front = {"library_name": "overtone", "pipeline_tag": "translation", "language": spoken, "tags": [config.mixer]}
    write_atomically(folder / "README.md", translation_card(report, front))
    translator.save(folder)


def _pairs(translator: "Translator", source: "Encoded", target: "Encoded") -> "PairBatches":
    from overtone.tasks.translate_data import PairBatches

    config = translator.network.config
    assert config.pad_token_id is not None
    return PairBatches(source, target, config.pad_token_id, config.decoder_start_token_id)


def _watch(preset: "TranslationPreset", translator: "Translator", val: "Sentences") -> Any:
    """Return what measures loss and BLEU on some validation sentences, evenly taken; None where there are none."""
    from overtone.data.pixels import evenly
    from overtone.tasks.translate_training import Watch

    if not len(val):
        return None
    some = val.select(evenly(len(val), WATCHED).tolist())
    pairs = _pairs(translator, translator.encode(some.source), translator.encode(some.target))
    return Watch(translator, some, pairs, preset.batch_size)


def _loop(
    config: "TrainConfig",
    preset: "TranslationPreset",
    translator: "Translator",
    snapshots: Any,
    folder: Path,
) -> "Loop":
    """Return what the training needs beside its settings."""
    from overtone.tasks.train import TENSORBOARD
    from overtone.tasks.translate_training import TranslationTrainer
    from overtone.training import Anneal, Loop, undecayed

    network = translator.network
    anneal = Anneal(lambda fraction: network.set_progress(fraction, config.seed))
    return Loop(
        doing="training",
        pace=True,
        undecayed=undecayed(network),
        tensorboard=folder / TENSORBOARD if config.tensorboard else None,
        callbacks=(anneal, snapshots),
        steps=rhythm(preset.steps),
        unit="tokens",
        trainer=TranslationTrainer,
        arguments={
            "lr_scheduler_type": preset.schedule,
            "warmup_steps": preset.warmup,
            "label_smoothing_factor": preset.smoothing,
            "adam_beta1": preset.betas[0],
            "adam_beta2": preset.betas[1],
            "adam_epsilon": 1e-9,
        },
    )
