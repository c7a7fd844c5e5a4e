"""A realistic report from made-up records: drawn pictures, hostile and foreign names, everything seeded."""

import numpy as np
from PIL import Image, ImageDraw

from overtone.report.results import (
    AdaptReport,
    Choice,
    ClassRow,
    ConfusedPair,
    ExchangeView,
    Interval,
    Mistake,
    Moved,
    Sensitivity,
    Skipped,
    StreamView,
)
from overtone.report.statistics import compare, compare_harmonic
from overtone.report.words import headline

HOSTILE = [
    "<script>alert('gotcha')</script>",
    '"><img src=x onerror=alert(1)>',
    "two\nlines\tand a tab",
    "{{ 7 * 7 }} {% raw %}",
    "قطة سوداء",
    "\u202eright to left override",
    "黒い猫とても長い名前のクラス",
    "Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichenverleihungsurkunde",
    "$\\frac{a}{b}$",
    "a --> b & 'DejaVu Sans' #1f2430",
]
PLAIN = [
    "cat face",
    "tiger face",
    "red apple",
    "cherries",
    "sailboat",
    "speedboat",
    "rose",
    "tulip",
    "sun",
    "full moon",
]


def drawing(seed: int, side: int = 64) -> Image.Image:
    """Return a small picture of a few coloured shapes on a transparent ground."""
    generator = np.random.default_rng(seed)
    picture = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    draw = ImageDraw.Draw(picture)
    colours = [tuple(int(c) for c in generator.integers(40, 240, 3)) for _ in range(4)]
    draw.ellipse((4, 6, side - 5, side - 5), fill=colours[0], outline=colours[3], width=2)
    left, top = (int(v) for v in generator.integers(8, side // 2, 2))
    draw.rectangle((left, top, left + side // 4, top + side // 5), fill=colours[1])
    draw.polygon([(side // 3, side - 14), (2 * side // 3, side - 14), (side // 2, side // 2)], fill=colours[2])
    return picture


def stream(name: str, seed: int, side: int = 96) -> StreamView:
    """Return a stream view computed from a drawing, with attention as smooth bumps."""
    flat = Image.new("RGB", (side, side), "white")
    ink = drawing(seed, side)
    flat.paste(ink, mask=ink)
    picture = np.asarray(flat, float) / 255
    spectrum = np.fft.rfft2(picture, axes=(0, 1))
    phase = np.fft.irfft2(np.exp(1j * np.angle(spectrum)), s=(side, side), axes=(0, 1))
    amplitude = np.log1p(np.abs(np.fft.fftshift(np.fft.irfft2(np.abs(spectrum), s=(side, side), axes=(0, 1)))))
    rows, columns = np.mgrid[0:8, 0:8]

    def bump(row: float, column: float) -> np.ndarray:
        return np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 6)

    return StreamView(name, picture, _stretch(phase), _stretch(amplitude), bump(2, 5), bump(6, 1))


def exchange(name: str, other: str, seed: int, side: int = 48) -> ExchangeView:
    """Return an example of what is exchanged."""
    pictures = [np.asarray(drawing(seed + i, side).convert("RGB"), float) / 255 for i in range(3)]
    return ExchangeView(name, tuple(pictures), (name, name, other))


def _stretch(values: np.ndarray) -> np.ndarray:
    low, high = np.quantile(values, [0.01, 0.99])
    return np.clip((values - low) / (high - low), 0, 1)


def outcomes(pictures: int, before: float, after: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return paired outcomes: the same picture is hard for both models."""
    generator = np.random.default_rng(seed)
    hardness = generator.random(pictures)
    noise = 0.15 * generator.standard_normal((2, pictures))
    return hardness + noise[0] < before, hardness + noise[1] < after


def sample(names: list[str] = PLAIN, hostile: bool = False, classes: int = 0) -> AdaptReport:
    """Return a full report; ``hostile`` mixes in odd names, ``classes`` sets how many there are at least."""
    generator = np.random.default_rng(7)
    names = names + HOSTILE if hostile else names
    names = names + [f"class {index}" for index in range(len(names), classes)]
    seen, unseen = outcomes(900, 0.61, 0.78, 1), outcomes(400, 0.55, 0.56, 2)
    comparisons = [
        compare("seen classes", *seen),
        compare("unseen classes", *unseen),
        compare_harmonic(seen, unseen),
    ]
    styles = ["noto", "twemoji", "openmoji", HOSTILE[0] if hostile else "fluent"]
    domains = [
        compare(f"{part} · {style}", *outcomes(200, 0.6 - 0.05 * i, 0.74 - 0.1 * i + shift, 10 + i))
        for part, shift in (("seen classes", 0.05), ("unseen classes", -0.1))
        for i, style in enumerate(styles)
    ]
    counts = np.diag(generator.integers(12, 30, len(names)))
    for _ in range(3 * len(names)):
        i, j = generator.integers(0, len(names), 2)
        counts[i, j] += int(generator.integers(1, 7))
    epochs = np.arange(1, 11)
    return AdaptReport(
        title=f"emoji, adapted with 2 pictures a class{' ' + HOSTILE[0] if hostile else ''}",
        summary=headline(comparisons),
        comparisons=comparisons,
        domains=domains,
        classes=[
            ClassRow(
                name,
                "seen" if i % 3 else "unseen",
                20,
                *(generator.integers(0, 21, 2) / 20).tolist(),
                *((0.05 * i % 1, 0.9 - 0.03 * i % 0.9) if i % 2 else ()),
            )
            for i, name in enumerate(names)
        ],
        curves={
            "training loss": [(float(e), 2.4 * np.exp(-e / 4) + 0.4) for e in epochs],
            "validation loss": [(float(e), 2.2 * np.exp(-e / 3) + 0.7 + 0.01 * e) for e in epochs],
            "validation accuracy": [(float(e), 0.78 - 0.2 * np.exp(-e / 3)) for e in epochs],
        },
        confused=[
            ConfusedPair(names[i], names[(i + 1) % len(names)], 12 - i % 10, drawing(i), drawing(i + 1))
            for i in range(min(8, len(names)))
        ],
        mistakes=[
            Mistake(
                drawing(100 + i),
                f"test/{names[i % len(names)]}/picture {i:04}.png",
                styles[i % 4] if i % 5 else None,
                names[i % len(names)],
                names[(i + 3) % len(names)],
                0.99 - 0.02 * i,
            )
            for i in range(24)
        ],
        confusion=counts,
        confusion_names=names,
        streams=[stream(names[i], 40 + i) for i in range(min(4, len(names)))],
        sensitivity=Sensitivity(
            256,
            Moved("amplitude exchanged (style)", Interval(0.41, 0.37, 0.45), Interval(0.22, 0.19, 0.25)),
            Moved("phase exchanged (structure)", Interval(0.93, 0.91, 0.95), Interval(0.97, 0.96, 0.98)),
            [exchange(names[i], names[(i + 1) % len(names)], 60 + i) for i in range(2)],
        ),
        choices=[
            Choice("model", "embedded", "default"),
            Choice("injection", "by_modality", "default; see benchmarks/farl.py"),
            Choice("shots", "2", "--shots"),
            Choice("learning rate", "0.001", "published setting of MMRL; not tuned"),
            Choice("weight of class features", "0.7", "published"),
            Choice("epochs", "10", "the best of 5, 10, 20 on the validation split"),
        ],
        skipped=[Skipped("test/rose/broken.png", "truncated file"), Skipped("train/sun/0.png", "empty file")],
        notes=[
            "There was no test split: a fifth of the pictures of each class was set aside under seed 0.",
            "Two classes had fewer pictures than asked for.",
        ],
    )
