import pytest
from report_samples import sample

from overtone.report.results import AdaptReport


@pytest.fixture(scope="session")
def plain() -> AdaptReport:
    return sample()


@pytest.fixture(scope="session")
def hostile() -> AdaptReport:
    return sample(hostile=True)
