"""The door: one command a verb. Parses, calls one task, prints."""

import contextlib
import dataclasses
import errno
import io
import itertools
import json
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import tyro

from overtone import __version__
from overtone.errors import UserError, did_you_mean
from overtone.tasks import (
    AdaptConfig,
    BenchConfig,
    DoctorConfig,
    EvaluateConfig,
    FitConfig,
    InspectConfig,
    PredictConfig,
    PretrainConfig,
    ProtocolConfig,
    TrainConfig,
)
from overtone.tasks.options import as_option
from overtone.tasks.protocols import PROTOCOLS

MISTAKE, FAULT, INTERRUPTED = 2, 1, 130  # exit codes
MOST_SKIPPED = 10  # lines
NAMED_PLACES = 5
ABOUT = (
    "Adapt a vision-language model to your pictures, and see whether it helped. "
    "`--version` prints the version; with any verb, `--debug` shows where an error came from."
)


def run_adapt(config: AdaptConfig) -> None:
    """Adapt, then print the figures and where the report is."""
    from overtone.tasks import adapt

    result = adapt(config)
    print_report(result.report, result.folder)
    print(f"\nAdapter  {result.folder}\nReport   {result.folder / 'report.html'}")


def run_evaluate(config: EvaluateConfig) -> None:
    """Evaluate, then print the figures."""
    from overtone.report.training import TrainReport
    from overtone.report.translation import TranslationReport
    from overtone.tasks import evaluate

    report = evaluate(config)
    if isinstance(report, TrainReport):
        print_training(report, config.out)
    elif isinstance(report, TranslationReport):
        print_translation(report, config.out)
    else:
        print_report(report, config.out)
    if config.out:
        print(f"\nReport   {os.path.join(config.out, 'report.html')}")  # noqa: PTH118


def run_protocol(config: ProtocolConfig) -> None:
    """Measure, then print the table and where the report is; where cells failed, say so and leave with a fault."""
    from overtone.tasks import evaluate_protocol

    result = evaluate_protocol(config)
    print(result.report)
    print(f"\nTable    {result.folder / 'table.csv'}\nReport   {result.folder / 'report.html'}")
    if failures := result.report.failures:
        (cell, why), log = failures[0], result.folder / "log.txt"
        stop(f"Of the cells, {len(failures)} failed; the first, {cell}: {why}. {str(log)!r} says more.", FAULT)


def run_doctor(config: DoctorConfig) -> None:
    """Look, then print what was found; leave with a fault where something is wrong."""
    from overtone.tasks import doctor

    result = doctor(config)
    print(result)
    if result.wrong:
        stop(f"{len(result.wrong)} of these are wrong: {', '.join(result.wrong)}.", FAULT)


def run_predict(config: PredictConfig) -> None:
    """Print a line a picture: its file, then class and probability of the most probable ones; or a line a sentence."""
    from overtone.tasks import predict
    from overtone.tasks.runs import finished_by

    predictions: Iterator[Any] = predict(config)
    if finished_by(config.adapter) == "translate":
        print_translations(predictions, config.json)
        return
    for prediction in predictions:
        if config.json:
            classes = [{"class": name, "probability": round(p, 6)} for name, p in prediction.classes]
            found = {"classes": classes} if prediction.error is None else {"error": prediction.error}
            print(json.dumps({"image": prediction.image} | found, ensure_ascii=False), flush=True)
        elif prediction.error is not None:
            print(f"overtone: skipped {prediction.image!r}: {prediction.error}", file=sys.stderr)
        else:
            ranked = "\t".join(f"{name}\t{p:.3f}" for name, p in prediction.classes)
            print(f"{shown(prediction.image)}\t{ranked}", flush=True)


def run_train(config: TrainConfig) -> None:
    """Train, then print how well it does and where the report is."""
    from overtone.processes import process_number
    from overtone.tasks import train

    result = train(config)
    if process_number():  # of several, the first speaks
        return
    (print_translation if config.task == "translate" else print_training)(result.report, result.folder)
    kind = "Translator" if config.task == "translate" else "Classifier"
    print(f"\n{kind}  {result.folder}\nReport      {result.folder / 'report.html'}")


def run_pretrain(config: PretrainConfig) -> None:
    """Pre-train, then print how well pictures and texts find each other, and where the model is."""
    from overtone.processes import process_number
    from overtone.tasks import pretrain

    result = pretrain(config)
    if process_number():  # of several, the first speaks
        return
    print(result.report.title)
    print_rest(result.report, result.folder)
    print(f"\nModel    {result.folder / 'model'}\nReport   {result.folder / 'report.html'}")


def run_fit(config: FitConfig) -> None:
    """Fit, then print how well the network holds the signal and where everything is."""
    from overtone.tasks import fit

    result = fit(config)
    print_fit(result.report)
    print(f"\nFit      {result.folder}\nReport   {result.folder / 'report.html'}")


def run_inspect(config: InspectConfig) -> None:
    """Look into embeddings, then print what they say and where the page is."""
    from overtone.tasks import inspect

    result = inspect(config)
    print_inspection(result.report, result.folder)
    print(f"\nReport   {result.folder / 'report.html'}")


def run_bench(config: BenchConfig) -> None:
    """Measure, then print the table."""
    from overtone.tasks import bench

    print(bench(config))


VERBS: dict[str, tuple[type, Callable[[Any], None]]] = {
    "adapt": (AdaptConfig, run_adapt),
    "predict": (PredictConfig, run_predict),
    "evaluate": (EvaluateConfig, run_evaluate),
    "pretrain": (PretrainConfig, run_pretrain),
    "train": (TrainConfig, run_train),
    "fit": (FitConfig, run_fit),
    "inspect": (InspectConfig, run_inspect),
    "bench": (BenchConfig, run_bench),
    "doctor": (DoctorConfig, run_doctor),
}
# `evaluate` does something else where the word behind it is a protocol's name
BY_PROTOCOL: dict[str, tuple[type, Callable[[Any], None]]] = {
    f"evaluate {name}": (ProtocolConfig, run_protocol) for name in PROTOCOLS
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run one verb; a user's mistake ends in one line on stderr and exit code 2, with its trace under `--debug`."""
    args = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in args
    args = [arg for arg in args if arg != "--debug"]
    with ending(debug):
        if args == ["--version"]:
            print(f"overtone {__version__}")
            return
        config = parse(args)
        quieten()
        dict((VERBS | BY_PROTOCOL).values())[type(config)](config)
        sys.stdout.flush()  # here, where a full disk can still be reported


@contextlib.contextmanager
def ending(debug: bool) -> Iterator[None]:
    """Turn whatever ends the work early into one line and an exit code; with `debug`, into its trace."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what is kept is kept
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names may hold what no encoding does
    try:
        yield
    except KeyboardInterrupt as interrupt:
        stop(". ".join(["interrupted", *map(str, interrupt.args)]), INTERRUPTED)
    except BrokenPipeError:  # `| head`: who reads has read enough
        discard_output()
        sys.exit(0)
    except Exception as error:
        discard_output()
        if debug:
            raise
        stop(*explained(error))


def explained(error: Exception) -> tuple[str, int]:
    """Return the line that says what an error means, and the exit code."""
    if isinstance(error, UserError):
        return str(error), MISTAKE
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        advice = "Make room" if error.errno == errno.ENOSPC else "Check that place"
        return f"{error.strerror or error}{where}. {advice} and try again.", MISTAKE
    said = " ".join(str(error).split())[:300]
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported
        return "there is not enough memory. Try a smaller --batch-size, a smaller model, or --device cpu.", MISTAKE
    return f"this should not happen: {type(error).__name__}: {said}. Please report it with what --debug shows.", FAULT


def parse(args: Sequence[str]) -> Any:
    """Return the config of the verb that `args` name; a slip of the pen ends in one line, not in tyro's box."""
    if args and not args[0].startswith("-") and args[0] not in VERBS:
        raise UserError(f"No verb {args[0]!r}.{did_you_mean(args[0], VERBS)} The verbs are {', '.join(VERBS)}.")
    verb = verb_of(args)
    if verb in BY_PROTOCOL and {"-h", "--help"} & set(args):
        args = [args[0], "--help"]  # tyro's help leaves out what is already there
    verbs = VERBS | ({"evaluate": BY_PROTOCOL[verb]} if verb in BY_PROTOCOL else {})
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.extras.subcommand_cli_from_dict(
                {name: config for name, (config, _) in verbs.items()},
                prog="overtone",
                description=ABOUT,
                args=args,
                config=(tyro.conf.FlagCreatePairsOff, tyro.conf.PositionalMetavarFromFieldName),
            )
    except SystemExit as leaving:
        if leaving.code:
            raise UserError(in_one_line(said.getvalue(), args)) from None
        raise


def verb_of(args: Sequence[str]) -> str:
    """Return the verb that `args` begin with, of two words for a protocol; nothing where they begin with none."""
    if " ".join(args[:2]) in BY_PROTOCOL:
        return " ".join(args[:2])
    return args[0] if args and args[0] in VERBS else ""


# What tyro says about a slip, and how we say it
SLIPS: tuple[tuple[str, Callable[..., str]], ...] = (
    (r"Unrecognized options: (.+)", lambda verb, options: _unknown(verb, options.split(", "))),
    (r"Error parsing (\S+): ", lambda verb, option: _no_number(verb, option)),
    (
        r"invalid choice '(.*)' for argument '(.*)'\. Expected one of \((.*)\)",
        lambda verb, value, option, choices: _no_choice(value, option, re.findall("'(.*?)'", choices)),
    ),
    (r"Missing from overtone \w+: (\w+)", lambda verb, name: f"{name} is missing."),
    (
        r"Missing value for argument '(.*?)'",
        lambda verb, option: f"{option if option[0] == '-' else option.upper()} needs a value.",
    ),
    (r"Expected one of \{", lambda verb: f"Name a verb: {', '.join(VERBS)}."),
)


def in_one_line(box: str, args: Sequence[str]) -> str:
    """Return what a box of tyro's says, in our words, with the nearest option to one that is not known."""
    verb = verb_of(args)
    lines = itertools.takewhile(lambda line: "────" not in line, (line.strip("│ ") for line in box.splitlines()[1:]))
    said = " ".join(lines)
    message = next((say(verb, *found.groups()) for slip, say in SLIPS if (found := re.match(slip, said))), f"{said}.")
    return f"{message} See {' '.join(filter(None, ('overtone', verb, '--help')))}."


def _unknown(verb: str, given: Sequence[str]) -> str:
    name = next((item for item in given if item.startswith("-")), given[0])
    if not name.startswith("-"):
        return f"{name!r} is one too many."
    return f"There is no option {name!r}{f' of {verb}' if verb else ''}.{did_you_mean(name, _options(verb))}"


def _no_number(verb: str, option: str) -> str:
    return f"{option} takes a {'number' if 'float' in _options(verb).get(option, '') else 'whole number'}."


def _options(verb: str) -> dict[str, str]:
    """Return the options of a verb and their types; none of no verb."""
    return {as_option(field.name): str(field.type) for field in _fields(verb)}


def _fields(verb: str) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields((VERBS | BY_PROTOCOL)[verb][0]) if verb else ()


def _no_choice(value: str, option: str, choices: Sequence[str]) -> str:
    return f"{option} {value!r}: no such choice.{did_you_mean(value, choices)} Take one of {', '.join(choices)}."


def quieten() -> None:
    """Keep the libraries from writing among our lines, and from reporting to anyone."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    warnings.filterwarnings("ignore", module=r"PIL\.")  # what it can read is read, and what it cannot is skipped
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # the profiler that sees how much memory a model takes


def print_report(report: Any, folder: Path | str) -> None:
    """Print the figures as a small table, the skipped inputs, the notes and the verdict."""
    from rich.console import Console
    from rich.table import Table

    from overtone.report.words import percent, point_span, points

    table = Table(title=report.title, title_justify="left", box=None, pad_edge=False)
    for heading in ("test pictures", "count", "zero-shot", "adapted", "difference (95 %)", "verdict"):
        table.add_column(heading, justify="left" if heading in ("test pictures", "verdict") else "right")
    for row in [*report.comparisons, *report.domains]:
        table.add_row(
            row.group,
            f"{row.pictures:,}",
            percent(row.zero_shot.value),
            percent(row.adapted.value),
            f"{points(row.difference.value)} ({point_span(row.difference)})",
            row.verdict,
        )
    # A name is text, whatever brackets and colons it holds; a file gets whole lines.
    plain = Console(markup=False, highlight=False, emoji=False, width=None if sys.stdout.isatty() else 200)
    plain.print(table)
    print_rest(report, folder)


def print_training(report: Any, folder: Path | str) -> None:
    """Print the accuracy on the test pictures, with its interval."""
    from overtone.report.words import percent

    print(report.title)
    for name, share in (("top-1", report.top1), ("top-5", report.top5)):
        if share:
            interval = f"{percent(share.low)} to {percent(share.high)}"
            print(f"{name} on {report.pictures:,} test pictures: {percent(share.value)} ({interval})")
    print_rest(report, folder)


def print_translation(report: Any, folder: Path | str) -> None:
    """Print the scores of a translator with what computed them."""
    print(report.title)
    for score in report.scores:
        spread = "" if score.half_width is None else f" ± {score.half_width:.1f}"
        print(
            f"{score.name} on {len(report.sentences):,} test sentences: {score.value:.1f}{spread} ({score.signature})"
        )
    print_rest(report, folder)


def print_translations(found: Iterator[Any], as_json: bool) -> None:
    """Print a line a sentence as they are made, an empty one for an empty one; at the end, what was not whole."""
    empty, cut = Places(), Places()
    try:
        for number, one in enumerate(found, 1):
            if as_json:
                said = {"place": one.place, "source": one.source, "translation": one.text, "subwords_cut": one.cut}
                print(json.dumps(said, ensure_ascii=False), flush=True)
            else:
                print(" ".join(one.text.splitlines()), flush=True)
            if not one.source.strip():
                empty.add(one.place or f"text {number}")
            elif one.cut:
                cut.add(one.place or f"text {number}")
    finally:  # a bad line ends it, and what was not whole before is said none the less
        empty.say("line was empty, and so is its translation", "lines were empty, and so are their translations")
        cut.say("line was too long and cut at the end", "lines were too long and cut at the end")


class Places:
    """Counts the lines of which something is to be said, however many, and keeps where the first few are."""

    def __init__(self) -> None:
        self.number = 0
        self.first: list[str] = []

    def add(self, place: str) -> None:
        """Count a line."""
        self.number += 1
        if self.number <= NAMED_PLACES:
            self.first.append(place)

    def say(self, one_was: str, many_were: str) -> None:
        """Print how many there are, and where; nothing where there is none."""
        if self.number:
            what = one_was if self.number == 1 else many_were
            more = f" and {self.number - NAMED_PLACES:,} more" if self.number > NAMED_PLACES else ""
            print(f"overtone: {self.number:,} {what}: {', '.join(self.first)}{more}", file=sys.stderr)


def print_fit(report: Any) -> None:
    """Print the figures of a fit, or a table of encodings, then the notes and the summary."""
    print(report.title)
    for row in report.encodings:
        print(f"{row.encoding:<12}PSNR {row.train:5.2f} dB, between {row.test:5.2f} dB, {row.seconds:.0f} CPU-s")
    for label, value, remark in report.tiles:
        print(f"{label}: {value} {remark}")
    for note in report.notes:
        print(f"\n{note}")
    print(f"\n{report.summary}")


def print_inspection(report: Any, folder: Path | str) -> None:
    """Print every reading with its reason, and what was skipped."""
    print(report.title)
    for reading in report.readings:
        print(f"\n{reading.about}: {reading.word}\n  {reading.sentence}")
    print_skipped(report, folder)
    for note in report.notes:
        print(f"\n{note}")


def print_rest(report: Any, folder: Path | str) -> None:
    """Print the skipped inputs, the notes and the verdict."""
    print_skipped(report, folder)
    for note in report.notes:
        print(f"\n{note}")
    print(f"\n{report.summary}")


def print_skipped(report: Any, folder: Path | str) -> None:
    """Print how many inputs were skipped, and the first of them; then how many pictures were not used, and why.

    `folder` is the run's, which has the list; nothing for none.
    """
    skipped = report.skipped
    if skipped:
        print(f"\n{len(skipped)} of the inputs could not be used and were skipped:")
    for item in skipped[:MOST_SKIPPED]:
        print(f"  {shown(item.source)}: {item.reason}")
    if len(skipped) > MOST_SKIPPED:
        where = os.path.join(folder, "skipped.csv") if folder else "a file of them with --out"  # noqa: PTH118
        print(f"  and {len(skipped) - MOST_SKIPPED} more; all: {where}")
    for choice in report.choices:
        if choice.what.endswith("left out"):
            print(f"\n{choice.what}: {choice.value}, {choice.how}")


def shown(path: str) -> str:
    """Return a path as it is, or quoted where a sign in it would break the line."""
    return path if path.isprintable() else repr(path)


def discard_output() -> None:
    """Where stdout takes no more, let the rest go nowhere, so that Python does not fail on it at the very end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def stop(message: str, code: int = MISTAKE) -> NoReturn:
    """Say in one line on stderr what was wrong, and leave."""
    print(f"overtone: {message}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
