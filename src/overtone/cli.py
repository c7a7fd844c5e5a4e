"""The door: one command a verb. Parses, calls one task, prints."""

import contextlib
import dataclasses
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import tyro

from overtone import __version__
from overtone.errors import UserError, did_you_mean
from overtone.tasks import AdaptConfig, EvaluateConfig, PredictConfig

MISTAKE, INTERRUPTED = 2, 130  # exit codes


def run_adapt(config: AdaptConfig) -> None:
    """Adapt, then print the figures and where the report is."""
    from overtone.tasks import adapt

    result = adapt(config)
    print_comparisons(result.report)
    print(f"\nAdapter  {result.folder}\nReport   {result.folder / 'report.html'}")


def run_evaluate(config: EvaluateConfig) -> None:
    """Evaluate, then print the figures."""
    from overtone.tasks import evaluate

    print_comparisons(evaluate(config))
    if config.out:
        print(f"\nReport   {os.path.join(config.out, 'report.html')}")  # noqa: PTH118


def run_predict(config: PredictConfig) -> None:
    """Print a line a picture: its file, then class and probability of the most probable ones."""
    from overtone.tasks import predict

    for prediction in predict(config):
        if config.json:
            classes = [{"class": name, "probability": round(p, 6)} for name, p in prediction.classes]
            print(json.dumps({"image": prediction.image, "error": prediction.error, "classes": classes}, ensure_ascii=False))
        elif prediction.error:
            print(f"overtone: skipped {prediction.image!r}: {prediction.error}", file=sys.stderr)
        else:
            ranked = "\t".join(f"{name}\t{p:.3f}" for name, p in prediction.classes)
            print(f"{prediction.image}\t{ranked}")


VERBS: dict[str, tuple[type, Callable[[Any], None]]] = {
    "adapt": (AdaptConfig, run_adapt),
    "predict": (PredictConfig, run_predict),
    "evaluate": (EvaluateConfig, run_evaluate),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run one verb; a user's mistake ends in one line on stderr and exit code 2 (`--debug` shows where it came from)."""
    args = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in args
    args = [arg for arg in args if arg != "--debug"]
    if args == ["--version"]:
        print(f"overtone {__version__}")
        return
    config = parse(args)
    quieten()
    try:
        run_of(config)(config)
    except UserError as error:
        if debug:
            raise
        stop(str(error))
    except OSError as error:
        if debug:
            raise
        stop(f"{error.strerror or error}: {error.filename or 'a file'}. Make room, or name a place that can be written with --out.")
    except KeyboardInterrupt:
        hint = " Go on with the same command and --resume." if isinstance(config, AdaptConfig) else ""
        stop(f"interrupted.{hint}", INTERRUPTED)


def parse(args: Sequence[str]) -> Any:
    """Return the config of the verb that `args` name; a slip of the pen ends in one line, not in tyro's box."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.extras.subcommand_cli_from_dict(
                {verb: config for verb, (config, _) in VERBS.items()},
                prog="overtone",
                description="Adapt a vision-language model to your pictures, and see whether it helped.",
                args=args,
                config=(tyro.conf.FlagCreatePairsOff, tyro.conf.PositionalMetavarFromFieldName),
            )
    except SystemExit as leaving:
        if leaving.code:
            stop(in_one_line(said.getvalue(), args))
        raise


def in_one_line(box: str, args: Sequence[str]) -> str:
    """Return what a box of tyro's says, with the nearest verb or option to one that is not known."""
    lines = [line.strip("│ ") for line in box.splitlines() if line.startswith("│") and "───" not in line]
    message = " ".join(lines[:2]) if lines and lines[0].endswith(":") else (lines or ["this command cannot be read"])[0]
    verb = args[0] if args and args[0] in VERBS else None
    known = [f"--{f.name.replace('_', '-')}" for f in dataclasses.fields(VERBS[verb][0])] if verb else list(VERBS)
    unknown = message.removeprefix("Unrecognized options: ").split(", ")[0]
    guide = f"overtone {verb} --help" if verb else "overtone --help"
    return f"{message}.{did_you_mean(unknown, known)} See {guide}."


def run_of(config: Any) -> Callable[[Any], None]:
    """Return the function that runs a verb's config."""
    return next(run for kind, run in VERBS.values() if isinstance(config, kind))


def quieten() -> None:
    """Keep the libraries from writing among our lines, and from reporting to anyone."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def print_comparisons(report: Any) -> None:
    """Print the figures as a small table, the skipped inputs and the verdict."""
    from rich.console import Console
    from rich.table import Table

    from overtone.report.words import percent, point_span, points

    table = Table(title=report.title, title_justify="left", box=None, pad_edge=False)
    for heading in ("test pictures", "count", "zero-shot", "adapted", "difference (95 %)", "verdict"):
        table.add_column(heading, justify="left" if heading in ("test pictures", "verdict") else "right")
    for row in [*report.comparisons, *report.domains]:
        table.add_row(
            row.group,
            str(row.pictures),
            percent(row.zero_shot.value),
            percent(row.adapted.value),
            f"{points(row.difference.value)} ({point_span(row.difference)})",
            row.verdict,
        )
    console = Console()
    console.print(table)
    if report.skipped:
        console.print(f"{len(report.skipped)} inputs skipped, the first: {report.skipped[0].source!r}: {report.skipped[0].reason}")
    console.print(f"\n{report.summary}", highlight=False)


def stop(message: str, code: int = MISTAKE) -> None:
    """Say in one line on stderr what was wrong, and leave."""
    print(f"overtone: {message}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
