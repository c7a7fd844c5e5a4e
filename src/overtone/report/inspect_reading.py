"""Figures in plain words: each reading is a rule with its threshold and where that is from."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from overtone.spectral import uniformity_of_sphere
from overtone.spectral.metrics import subspace_size

from . import words
from .inspect_results import Reading, Task, Tone, Worth, way_name

LIANG = "Liang et al. 2022"
CLIP_GAP, CLIP_CONES = 0.82, (0.47, 0.56)  # LIANG: of CLIP; of its encoders on COCO
NARROW, CONE = 0.9, 0.4  # mean cosine. LIANG: untrained encoders have up to 0.99; the thresholds are ours
CROWDED = 0.5  # of the sphere's uniformity
WIDE_GAP, SMALL_GAP = (0.65, 1.0), 0.2
UNUSED = 0.1  # share of dimensions
FEW = 0.15  # effective rank by dimensions
APART = 0.2  # Hellinger distance. Measured by us on CLIP: 0.03 trained, 0.35 at random weights
NEARLY_CHANCE = 1.5  # times the overlap of random subspaces
KEPT = 0.9  # share of ten nearest neighbours

Figures = Mapping[str, float]


@dataclass(frozen=True)
class Rule:
    """A reading and when it holds; of the rules of a subject that share a `topic`, the first that holds is read."""

    topic: str
    word: str
    tone: Tone
    holds: Callable[[Figures], bool]
    sentence: str  # both are formatted with the figures
    rule: str
    source: str


def _unused(m: Figures) -> float:
    return m["zeros"] / min(m["samples"], m["width"])


SIDE_RULES = (
    Rule(
        "whole",
        "one row",
        "open",
        lambda m: m["rows"] == 1,
        "A single row has no spectrum and no neighbours.",
        "1 row",
        "ours",
    ),
    Rule(
        "whole",
        "collapsed",
        "bad",
        lambda m: m["raw/top_energy"] == 0,
        "All {rows:,.0f} rows are zero: there is nothing else to say of them.",
        "no energy in any direction",
        "ours",
    ),
    Rule(
        "whole",
        "collapsed",
        "bad",
        lambda m: m["collapsed"] == 1 or m["samples"] == 1,
        "Nearly everything points one way: {energy} of the energy is in the first direction, and {samples:,.0f} of "
        "{rows:,.0f} rows are different. Nothing else on this page means much.",
        "first direction above 99 % of the energy, or all rows equal",
        "ours",
    ),
    Rule(
        "copies",
        "{copies} copies",
        "open",
        lambda m: m["samples"] < 0.5 * m["rows"],
        "Only {samples:,.0f} of {rows:,.0f} rows are different; the figures of this side are of these.",
        "more than half of the rows equal to others",
        "ours",
    ),
    Rule(
        "few",
        "few rows",
        "open",
        lambda m: m["samples"] < m["width"],
        "With {samples:,.0f} different rows in {width:,.0f} dimensions the spectrum ends where the rows do, and shares "
        "are larger than more rows would show.",
        "fewer different rows than dimensions",
        "ours: shares drift with the number of rows",
    ),
    Rule(
        "cone",
        "narrow cone, mean cosine {cone:.2f}",
        "bad",
        lambda m: m["cone"] >= NARROW,
        "Any two rows have a cosine of {cone:.2f} on average: similarity hardly tells them apart.",
        f"mean cosine of {NARROW} or more",
        f"threshold ours; untrained encoders reach 0.99 ({LIANG})",
    ),
    Rule(
        "cone",
        "cone, mean cosine {cone:.2f}",
        "mixed",
        lambda m: m["cone"] >= CONE,
        "Any two rows have a cosine of {cone:.2f} on average; CLIP's encoders have 0.47 to 0.56. {mean} of "
        "the energy is in the mean direction.",
        f"mean cosine of {CONE} or more",
        f"threshold ours; CLIP's figures {LIANG}",
    ),
    Rule(
        "cone",
        "crowded, uniformity {uniformity:.2f}",
        "mixed",
        lambda m: m["uniformity"] > CROWDED * uniformity_of_sphere(int(m["width"])),
        "Rows lie close together, in no cone but in groups: uniformity {uniformity:.2f} where the whole sphere has "
        "{sphere:.2f}.",
        f"uniformity above {CROWDED} times that of the whole sphere",
        "Wang & Isola 2020; threshold ours",
    ),
    Rule(
        "signal",
        "nothing but noise",
        "bad",
        lambda m: m["raw/strong_count"] + m["raw/weak_count"] == 0,
        "No direction stands out from what independent noise of the same size gives.",
        "no singular value above the Marchenko-Pastur edge",
        "Marchenko & Pastur 1967; the edge's margin is ours",
    ),
    Rule(
        "space",
        "{unused} of the dimensions unused",
        "mixed",
        lambda m: _unused(m) >= UNUSED,
        "{zeros:.0f} of {smaller:.0f} directions hold nothing: the encoder is narrower than its output, or has "
        "collapsed onto fewer dimensions.",
        f"{words.percent(UNUSED, 0)} or more of the singular values are zero within rounding",
        "dimensional collapse, Jing et al. 2022; threshold ours",
    ),
    Rule(
        "space",
        "few directions, effective rank {centred/rankme:.0f} of {smaller:.0f}",
        "mixed",
        lambda m: m["centred/rankme"] < FEW * min(m["samples"], m["width"]),
        "Less its mean, the spectrum is as wide as {centred/rankme:.0f} equal directions of {smaller:.0f}.",
        f"RankMe of the centred rows below {words.percent(FEW, 0)} of the dimensions",
        "RankMe, Garrido et al. 2023; threshold ours",
    ),
)

GAP_RULES = (
    Rule(
        "gap",
        "gap {gap:.2f}, wider than CLIP's",
        "mixed",
        lambda m: m["gap"] > WIDE_GAP[1],
        "The means of image and text are {gap:.2f} apart; CLIP's are 0.82.",
        f"gap above {WIDE_GAP[1]}",
        f"{LIANG}; thresholds ours",
    ),
    Rule(
        "gap",
        "gap {gap:.2f}, typical of CLIP",
        "open",
        lambda m: m["gap"] >= WIDE_GAP[0],
        "The means of image and text are {gap:.2f} apart, as in CLIP (0.82): the two lie in different places of the "
        "sphere. That alone does no harm to retrieval, where all images stand on one side.",
        f"gap from {WIDE_GAP[0]} to {WIDE_GAP[1]}",
        f"{LIANG}; thresholds ours",
    ),
    Rule(
        "gap",
        "gap {gap:.2f}, smaller than CLIP's",
        "good",
        lambda m: m["gap"] >= SMALL_GAP,
        "The means of image and text are {gap:.2f} apart; CLIP's are 0.82.",
        f"gap from {SMALL_GAP} to {WIDE_GAP[0]}",
        f"{LIANG}; thresholds ours",
    ),
    Rule(
        "gap",
        "hardly a gap, {gap:.2f}",
        "good",
        lambda m: True,
        "The means of image and text are {gap:.2f} apart; CLIP's are 0.82.",
        f"gap below {SMALL_GAP}",
        f"{LIANG}; thresholds ours",
    ),
    Rule(
        "spectra",
        "spectra of different shape",
        "mixed",
        lambda m: m["raw/hellinger"] >= APART,
        "The singular values of image and text fall differently: Hellinger distance {raw/hellinger:.2f}. We measured "
        "0.03 on CLIP as trained and 0.35 on its architecture with random weights.",
        f"Hellinger distance of {APART} or more",
        "ours, from CLIP as trained and at random",
    ),
    Rule(
        "subspaces",
        "subspaces hardly overlap",
        "mixed",
        lambda m: m["raw/subspace_overlap"] < NEARLY_CHANCE * m["chance"],
        "The strongest directions of image and text share {raw/subspace_overlap:.2f} of their space, where random ones "
        "share {chance:.2f}: what is strong in one is not what is strong in the other.",
        f"overlap below {NEARLY_CHANCE} times that of random subspaces",
        "ours",
    ),
)


def chance_overlap(m: Figures) -> float:
    """Return the subspace overlap k / n of random subspaces of the size that is compared; names of figures are full."""
    width = int(m["image/width"])
    return subspace_size(min(int(m["image/samples"]), int(m["text/samples"]), width)) / width


def read_side(about: str, m: Figures) -> list[Reading]:
    """Return what the figures of one modality say, by name; `rows` and `zeros` among them."""
    smaller = min(m["samples"], m["width"])
    shown = {**m, "smaller": smaller, "energy": words.percent(m["raw/top_energy"])}
    shown |= {"mean": words.percent(m["mean_energy"], 0), "sphere": uniformity_of_sphere(int(m["width"]))}
    shown |= {"copies": words.percent(1 - m["samples"] / m["rows"], 0), "unused": words.percent(_unused(m), 0)}
    readings = _read(about, SIDE_RULES, m, shown)
    if readings and is_hollow(readings[0]):
        return readings[:1]
    if all(reading.tone == "open" for reading in readings):
        readings.append(_healthy(about, m))
    return readings


def is_hollow(reading: Reading) -> bool:
    """Return whether a side is such that nothing else about it means much."""
    return reading.word in ("one row", "collapsed")


def read_pair(m: Figures, worth: Sequence[Worth], tasks: Mapping[str, Task], labelled: bool) -> list[Reading]:
    """Return what the figures of a pair say, `chance` (overlap) among them; its texts may be names of classes."""
    readings = _read("pair", GAP_RULES, m, m)
    if not worth:
        return readings
    names = {way: way_name(way, labelled) for way in tasks}
    return [*readings, *_read_match(worth[0], tasks, names), *_read_noise(worth, names)]


def read_neighbours(worth: Sequence[Worth]) -> list[Reading]:
    """Return what the noise directions of one matrix are worth."""
    row = next((row for row in worth if row.kept == "strong and weak"), None)
    if row is None:
        return []
    k, share = list(row.neighbours.items())[-1]
    little = share >= KEPT
    return [
        Reading(
            "embeddings",
            "noise worth little" if little else "noise carries detail",
            "open",
            f"Without the noise directions {words.percent(share)} of the {k} nearest neighbours stay the same.",
            f"{'at least' if little else 'less than'} {words.percent(KEPT, 0)} of the neighbours stay",
            "ours",
        )
    ]


def _healthy(about: str, m: Figures) -> Reading:
    limit = uniformity_of_sphere(int(m["width"]))
    return Reading(
        about,
        "healthy",
        "good",
        f"Spread out (mean cosine {m['cone']:.2f}, uniformity {m['uniformity']:.2f} where the whole sphere has "
        f"{limit:.2f}), and as wide as {m['centred/rankme']:.0f} equal directions of "
        f"{min(m['samples'], m['width']):.0f}.".replace("-", "\u2212"),
        "none of: collapse, cone, crowding, nothing but noise, unused dimensions, few directions",
        "ours",
    )


def _read_match(full: Worth, tasks: Mapping[str, Task], names: Mapping[str, str]) -> list[Reading]:
    guessing = [way for way, recall in full.recall.items() if recall.at[1].low <= tasks[way].chance]
    if not guessing:
        return []
    shares = {way: (full.recall[way].at[1].value, tasks[way].chance) for way in guessing}
    figures = " and ".join(
        f"{words.percent(share, 2)} {names[way]} (guessing: {words.percent(chance, 2)})"
        for way, (share, chance) in shares.items()
    )
    return [
        Reading(
            "pair",
            "rows do not match",
            "bad",
            f"The right one comes first no more often than by guessing: {figures}. Are both files in the same order?",
            "the 95 % interval of R@1 reaches down to chance",
            "ours",
        )
    ]


NOISE_WORDS: dict[str, tuple[str, Tone]] = {
    "hurt": ("noise carries signal", "open"),
    "helped": ("noise does harm", "mixed"),
    "cannot tell": ("noise worth nothing measurable", "good"),
}


def _read_noise(worth: Sequence[Worth], names: Mapping[str, str]) -> list[Reading]:
    row = next((row for row in worth if row.kept == "strong and weak"), None)
    if row is None:
        return []
    verdicts = {recall.verdict for recall in row.recall.values()}
    verdict = next((v for v in ("hurt", "helped") if v in verdicts), "cannot tell")
    word, tone = NOISE_WORDS[verdict]
    changes = " and ".join(
        f"{words.points(recall.change.value)} points of R@1 {names[way]} ({words.point_span(recall.change)})"
        for way, recall in row.recall.items()
        if recall.change
    )
    return [
        Reading(
            "pair",
            word,
            tone,
            f"Leaving the noise directions out changes {changes}.",
            "whether the 95 % interval of a paired difference of R@1 leaves out zero",
            "ours",
        )
    ]


def _read(about: str, rules: Iterable[Rule], m: Figures, shown: Mapping[str, object]) -> list[Reading]:
    held: dict[str, Rule] = {}
    for rule in rules:
        if rule.topic not in held and rule.holds(m):
            held[rule.topic] = rule
    return [
        Reading(about, _filled(r.word, shown), r.tone, _filled(r.sentence, shown), r.rule, r.source)
        for r in held.values()
    ]


def _filled(text: str, shown: Mapping[str, object]) -> str:
    return re.sub(r"-(?=\d)", "\u2212", text.format_map(shown))
