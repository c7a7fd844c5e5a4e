"""Make the report of a translator from its translations and its log; score one on other data."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overtone.data.names import count
from overtone.data.parallel import ParallelSplits, Sentences, TestSentences, load_parallel, load_test_sentences
from overtone.data.pixels import evenly
from overtone.errors import UserError
from overtone.farl.adapter import versions
from overtone.models import ShfinTranslationConfig
from overtone.processes import processes
from overtone.report import Choice
from overtone.report.training import FrequencyMap
from overtone.report.translation import Curve, TranslatedSentence, TranslationReport
from overtone.tasks.folders import read_settings
from overtone.tasks.train import TrainConfig
from overtone.tasks.translate import HELD_OUT, RECIPE, Learned, averaged_steps, place_of
from overtone.tasks.translate_presets import TranslationPreset
from overtone.tasks.translate_scores import scores, sentence_scores
from overtone.tasks.translator import BEAMS, LENGTH_PENALTY, Translated, Translator

if TYPE_CHECKING:
    from overtone.tasks.evaluate import EvaluateConfig

CHANGED = (
    "The data is not what it was when this translator was trained: it may have learned from some of these sentences, "
    "so these scores may flatter it."
)
SAMPLES = 16  # test sentences that are shown, evenly taken
# Charts by title: the log's names by what the curve is called
PANELS = {
    "Loss a token": {"training": "loss", "validation": "validation_loss"},
    "BLEU, greedy": {"validation": "validation_bleu"},
    "Learning rate": {"learning rate": "learning_rate"},
}


def build_report(
    config: TrainConfig,
    preset: TranslationPreset,
    translator: Translator,
    learned: Learned,
    splits: ParallelSplits,
    log: Sequence[dict[str, Any]],
) -> TranslationReport:
    """Translate the test sentences and return the report on a training."""
    report = scored(f"Trained on {config.data}", translator, splits.test)
    report.choices = [Choice(*choice) for choice in splits.choices] + how_trained(config, preset, translator, learned)
    report.skipped = list(splits.skipped)
    report.panels = panels(log)
    return report


def scored(title: str, translator: Translator, test: Sentences) -> TranslationReport:
    """Translate test sentences and return what there is to say about it."""
    found = translator.translate(test.source)
    texts = [translated.text for translated in found]
    figures = scores(texts, test.target)
    rows = zip(test.source, texts, test.target, sentence_scores(texts, test.target), strict=True)
    sentences = [TranslatedSentence(number, *row) for number, row in enumerate(rows, 1)]
    bleu, chrf, _ = figures
    return TranslationReport(
        title=title,
        summary=f"{bleu.value:.1f} BLEU and {chrf.value:.1f} chrF on {count(len(test), 'test sentence')}, "
        f"{translator.source} to {translator.target}.",
        source_language=translator.source,
        target_language=translator.target,
        scores=figures,
        sentences=sentences,
        samples=[sentences[i] for i in evenly(len(sentences), SAMPLES).tolist()],
        frequencies=[FrequencyMap(name, kept[None]) for name, kept in translator.network.chosen_frequencies()],
        notes=cut_notes(found, translator.limit),
    )


def cut_notes(found: Sequence[Translated], limit: int) -> list[str]:
    """Return a note where test sentences were too long, with the number of the first."""
    cut = [number for number, translated in enumerate(found, 1) if translated.cut]
    if not cut:
        return []
    return [
        f"{count(len(cut), 'test sentence')} of more than {limit} subwords, the first number {cut[0]:,}, lost the "
        "rest before translation; references are whole."
    ]


def panels(log: Sequence[dict[str, Any]]) -> dict[str, dict[str, Curve]]:
    """Return the curves by chart, those without a point left out."""
    found: dict[str, dict[str, Curve]] = {
        title: {name: [(r["step"], r[key]) for r in log if key in r] for name, key in names.items()}
        for title, names in PANELS.items()
    }
    curves = {title: {name: curve for name, curve in panel.items() if curve} for title, panel in found.items()}
    return {title: panel for title, panel in curves.items() if panel}


def how_trained(
    config: TrainConfig, preset: TranslationPreset, translator: Translator, learned: Learned
) -> list[Choice]:
    """Return every decision of the run, and who made it."""
    recipe = f"the recipe {config.preset}: {preset.source}"

    def choice(what: str, name: str, value: str) -> Choice:
        assert name in RECIPE
        return Choice(what, value, recipe if getattr(config, name) is None else "set by you")

    network = translator.network
    sizes, trained = network.config, sum(p.numel() for p in network.parameters() if p.requires_grad)
    layers = f"d {sizes.d_model}, {sizes.encoder_layers} + {sizes.decoder_layers} layers"
    cross = "attention" if sizes.cross == "attention" else "attention to spectra of its patches (SHFIN)"
    decay = f"weight decay {preset.weight_decay:g}" if preset.weight_decay else "no weight decay"
    falls = "inverse square root" if preset.schedule == "inverse_sqrt" else "cosine"
    averaged = ", ".join(f"{step:,}" for step in averaged_steps(preset.steps))
    cut = [
        f"{(encoded.cut > 0).sum():,} {side}"
        for side, encoded in (("source", learned.source), ("target", learned.target))
    ]
    return [
        Choice("recipe", config.preset, preset.source),
        Choice("network", f"{_encoder(sizes)}, {layers}, {trained:,} trained parameters", "the recipe's sizes"),
        Choice("decoder reads the source by", cross, "set by you" if config.cross else "Marian's, unless set"),
        Choice(
            "subwords", f"{len(translator.tokenizer):,} of both languages", f"{recipe}; from the training sentences"
        ),
        Choice("sentences learned from", f"{len(learned.source):,} pairs", "all there are"),
        Choice("cut", f"{' and '.join(cut)} sentences past {preset.limit} subwords", recipe),
        Choice("optimiser", f"AdamW, betas {preset.betas}, {decay}, {falls} after {preset.warmup:,} steps", recipe),
        choice("learning rate", "learning_rate", f"{preset.learning_rate:g}"),
        choice("steps", "steps", f"{preset.steps:,}"),
        choice("batch", "batch_size", f"{preset.batch_size:,} tokens, over {count(processes(), 'process')}"),
        Choice("label smoothing", str(preset.smoothing), recipe),
        Choice("weights", f"the mean of those at steps {averaged}", "ours: nothing is chosen on test sentences"),
        Choice("search", f"{BEAMS} beams", "Vaswani et al. 2017, section 6.1"),
        Choice("length penalty", f"{LENGTH_PENALTY}", "ours, from validation sentences of debian-en-de"),
        Choice("seed", str(config.seed), "every draw follows from it"),
        Choice("precision", f"{config.precision} on {config.device}", "auto is bf16 on a GPU that has it"),
        Choice("versions", ", ".join(f"{name} {version}" for name, version in versions().items()), "installed here"),
    ]


def _encoder(sizes: ShfinTranslationConfig) -> str:
    """Return what mixes in an encoder, in words."""
    gate = "gated " if sizes.mixer == "shfin" and sizes.gated else ""
    return f"{gate}{sizes.mixer} encoder"


def score_translator(config: "EvaluateConfig", device: str) -> TranslationReport:
    """Return the report on a translator's run, judged on the test sentences of other data."""
    for option in ("model", "image_column", "label_column"):
        if getattr(config, option) is not None:
            raise UserError(f"--{option.replace('_', '-')} is for pictures: {config.adapter!r} is a translator.")
    translator = Translator.load(config.adapter, device)
    test, notes = tested(config.data, translator, read_settings(Path(config.adapter)))
    report = scored(f"{config.adapter} on {config.data}", translator, test.sentences)
    report.choices = [*(Choice(*choice) for choice in test.choices), Choice("network", config.adapter, "named by you")]
    report.skipped = list(test.skipped)
    report.notes += notes
    return report


def tested(data: str, translator: Translator, settings: dict[str, Any]) -> tuple[TestSentences, list[str]]:
    """Return what a run is judged on, and a note where it may have learned from it.

    Of the run's own data, wherever that lies now, it is what the run held out; of other data its test part, or all.
    """
    languages, own = (translator.source, translator.target), settings.get("data") == place_of(data)
    held_out = translator.made.get(HELD_OUT)
    try:
        splits = load_parallel(data, settings.get("seed", 0), *languages)
    except UserError:
        if own:
            raise
        splits = None  # too little to be parted, so not what the run learned from
    if splits and (own or splits.test.fingerprint == held_out):
        test = TestSentences(splits.test, splits.skipped, splits.choices)
        return test, [] if held_out in (None, splits.test.fingerprint) else [CHANGED]
    return load_test_sentences(data, *languages), []
