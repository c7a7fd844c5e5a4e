import dataclasses

import pytest

from overtone.report.results import Comparison, Interval
from overtone.report.words import headline, overall, percent, point_span, points


def comparison(group: str, verdict: str, before: float = 0.61, after: float = 0.78) -> Comparison:
    unused = Interval(0, 0, 0)
    before_, after_ = (dataclasses.replace(unused, value=value) for value in (before, after))
    return Comparison(group, 10, before_, after_, unused, verdict)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["helped", "helped"], "helped"),
        (["helped", "cannot tell"], "helped"),
        (["hurt", "cannot tell"], "hurt"),
        (["helped", "hurt"], "mixed"),
        (["cannot tell"], "cannot tell"),
        ([], "cannot tell"),
    ],
)
def test_overall_verdict(verdicts, expected):
    assert overall([comparison(str(index), verdict) for index, verdict in enumerate(verdicts)]) == expected


def test_harmonic_mean_has_no_vote():
    groups = [comparison("seen classes", "cannot tell"), comparison("harmonic mean", "helped")]
    assert overall(groups) == "cannot tell"


def test_headlines():
    helped, open_ = comparison("seen classes", "helped"), comparison("unseen classes", "cannot tell", 0.5, 0.5)
    hurt = comparison("unseen classes", "hurt", 0.5, 0.4)
    plain = [headline(groups).replace("\u00a0", " ") for groups in ([helped, open_], [helped, hurt], [open_], [])]
    assert plain == [
        "Adapting helped: 61 % → 78 % on seen classes; unseen classes: cannot tell.",
        "Adapting helped in one place and hurt in another: "
        "61 % → 78 % on seen classes (helped); 50 % → 40 % on unseen classes (hurt).",
        "Cannot tell whether adapting helped: 50 % → 50 % on unseen classes.",
        "",
    ]


def test_numbers():
    assert percent(0.6123) == "61.2\u00a0%"
    assert [points(value) for value in (0.1234, -0.0567, 0.0, -0.0001)] == ["+12.3", "\u22125.7", "0.0", "0.0"]
    assert point_span(Interval(0, -0.01, 0.02)) == "\u22121.0 to +2.0"
