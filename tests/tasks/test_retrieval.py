"""Multi-caption retrieval against a loop over the definition."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from overtone.tasks import retrieval
from overtone.tasks.retrieval import KS, own_ranks, recalls


def naive(queries: Tensor, keys: Tensor, links: set[tuple[int, int]], k: int) -> float:
    """Sort all keys by cosine, own ones last among equals, leave one of the query's own, look at the first k."""
    hits = 0
    for q, query in enumerate(queries.tolist()):
        cosines = [sum(a * b for a, b in zip(query, key, strict=True)) for key in keys.tolist()]
        own = [i for i in range(len(keys)) if (q, i) in links]
        best = max(own, key=lambda i: cosines[i])
        others = [i for i in range(len(keys)) if i not in own]
        order = sorted([*others, best], key=lambda i: (-round(1e6 * cosines[i]), i == best))
        hits += best in order[:k]
    return hits / len(queries)


@st.composite
def linked(draw: st.DrawFn) -> tuple[int, int, list[tuple[int, int]]]:
    """Images, texts, and links that leave none alone."""
    images, texts = draw(st.integers(1, 12)), draw(st.integers(1, 15))
    links = {(i, draw(st.integers(0, texts - 1))) for i in range(images)}
    links |= {(draw(st.integers(0, images - 1)), t) for t in range(texts)}
    return images, texts, sorted(links)


@given(linked(), st.integers(0, 2**31), st.booleans())
@settings(max_examples=60, deadline=None)
def test_it_is_the_naive_loop(sizes: tuple[int, int, list[tuple[int, int]]], seed: int, coarse: bool) -> None:
    """Also where cosines are equal: coarse features take few values."""
    images, texts, links = sizes
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (images, texts))
    if coarse:
        x, y = x.sign(), y.sign()
    found = recalls(x, y, torch.tensor(links))
    x, y = normalize(x.float(), dim=-1), normalize(y.float(), dim=-1)
    for k in KS:
        assert found[f"image_to_text_recall_at_{k}"] == pytest.approx(naive(x, y, set(links), k))
        assert found[f"text_to_image_recall_at_{k}"] == pytest.approx(naive(y, x, {(t, i) for i, t in links}, k))


def test_several_captions_and_shared_ones() -> None:
    """Two pictures of one caption and a picture of two: any of its own will do, and none of them crowds out another."""
    x = torch.eye(3)
    y = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.1, 1.0], [0.0, 1.0, 0.9]])
    links = torch.tensor([[0, 0], [1, 0], [2, 1], [2, 2]])
    # the second picture: cosine 0.707 with its own, 0.743 with the last text
    assert own_ranks(normalize(x, dim=-1), normalize(y, dim=-1), links).tolist() == [0, 1, 0]
    found = recalls(x, y, links)
    assert found["image_to_text_recall_at_1"] == pytest.approx(2 / 3)
    assert found["text_to_image_recall_at_1"] == pytest.approx(2 / 3)  # the last text is nearer to the second picture
    assert found["image_to_text_recall_at_5"] == found["text_to_image_recall_at_5"] == 1


def test_a_collapsed_model_finds_nothing_first() -> None:
    same = torch.ones(20, 4)
    links = torch.arange(20)[:, None].expand(-1, 2)
    assert set(recalls(same, same, links).values()) == {0}


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = (torch.randn(23, 5, generator=torch.Generator().manual_seed(i)) for i in (1, 2))
    links = torch.stack([torch.arange(23), torch.arange(23).flip(0)], dim=1)
    whole = recalls(x, y, links)
    monkeypatch.setattr(retrieval, "BLOCK", 4)
    assert recalls(x, y, links) == whole


def test_every_side_needs_a_link() -> None:
    with pytest.raises(ValueError, match="links must name each of the 3 texts, they name 2"):
        recalls(torch.eye(3), torch.eye(3), torch.tensor([[0, 0], [1, 1], [2, 1]]))
