"""Sets of the hub with translations, in `datasets`' own types, without the network."""

from typing import Any

import datasets
import pytest

from overtone.data import hub
from overtone.data.parallel import Skipped, load_parallel
from overtone.errors import UserError

PAIRS = [{"en": f"English {n}", "de": f"Deutsch {n}"} for n in range(60)]
NESTED = datasets.Features({"translation": datasets.Translation(languages=["de", "en"])})


def nested(pairs: list[dict[str, str] | None]) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"translation": pairs}, features=NESTED)


class Hub:
    """What the hub has: configurations of splits."""

    def __init__(self) -> None:
        self.held: dict[str, dict[str, datasets.Dataset]] = {}
        self.asked: list[Any] = []

    def names(self, repository: str, revision: str | None = None) -> list[str]:
        if not self.held:
            raise ConnectionError(f"Couldn't reach {repository!r}\non the Hub")
        return list(self.held)

    def load(self, repository: str, name: str | None = None, revision: str | None = None) -> datasets.DatasetDict:
        self.asked.append((repository, name, revision))
        return datasets.DatasetDict(self.held[name or "default"])


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Hub:
    found = Hub()
    monkeypatch.setattr(datasets, "get_dataset_config_names", found.names)
    monkeypatch.setattr(datasets, "load_dataset", found.load)
    monkeypatch.setattr(hub, "hub_answers", lambda: True)
    return found


def test_the_configuration_of_the_pair_and_its_splits(served: Hub) -> None:
    splits = {"train": nested(PAIRS[:40]), "validation": nested(PAIRS[40:50]), "test": nested(PAIRS[50:])}
    served.held = {"cs-en": {}, "de-en": {**splits, "extra": nested(PAIRS)}}
    found = load_parallel("owner/news@v1", seed=0)
    assert served.asked == [("owner/news", "de-en", "v1")]
    assert [len(part) for part in (found.train, found.val, found.test)] == [40, 10, 10]
    assert (found.test.source[0], found.test.target[0]) == ("English 50", "Deutsch 50")
    assert ("splits left out", "'extra'", "they are not called train, val or test") in found.choices


def test_a_single_split_is_parted_and_empty_rows_are_skipped(served: Hub) -> None:
    served.held = {"default": {"train": nested([*PAIRS, {"en": "x", "de": ""}, None])}}
    found = load_parallel("owner/news", seed=0)
    assert len(found.train) + len(found.val) + len(found.test) == 60
    assert found.skipped == (
        Skipped("owner/news/train:60", "the target is empty"),
        Skipped("owner/news/train:61", "both sentences are empty"),
    )


def test_a_column_for_each_language(served: Hub) -> None:
    columns = {"de": [pair["de"] for pair in PAIRS], "en": [pair["en"] for pair in PAIRS], "id": list(range(60))}
    served.held = {"default": {"train": datasets.Dataset.from_dict(columns), "test": nested(PAIRS[:1])}}
    served.held["default"]["test"] = datasets.Dataset.from_dict({"de": ["Neu"], "en": ["New"], "id": [0]})
    found = load_parallel("owner/news", seed=0)
    assert (found.test.source, found.test.target) == (["New"], ["Neu"])


def test_pairs_that_are_not_there(served: Hub) -> None:
    with pytest.raises(UserError, match=r"nor to be had from the hub: Couldn't reach 'owner/news' on the Hub"):
        load_parallel("owner/news", seed=0)
    served.held = {"cs-en": {}, "fr-en": {}}
    with pytest.raises(UserError, match="has no pair en-de: its configurations are 'cs-en', 'fr-en'"):
        load_parallel("owner/news", seed=0)
    served.held = {"default": {"train": nested(PAIRS)}}
    with pytest.raises(UserError, match=r"from 'en' to 'fr' in 'owner/news'. Its languages are 'de', 'en'"):
        load_parallel("owner/news", seed=0, target="fr")
