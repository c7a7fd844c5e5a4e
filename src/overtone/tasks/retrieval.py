"""Retrieval among pictures and texts where each picture may have several texts, and a text several pictures."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

KS = (1, 5, 10)
BLOCK = 1024  # queries at a time


def recalls(
    image_features: Float[Tensor, "images width"],
    text_features: Float[Tensor, "texts width"],
    links: Int[Tensor, "links 2"],
    ks: Sequence[int] = KS,
) -> dict[str, float]:
    """Return R@k in both directions, "image_to_text_recall_at_1" and so on, each in [0, 1].

    `links` are the rows (image, text) that belong together: every image and every text has one or more. A query is
    found at k if the nearest of its own by cosine is among the first k. Others that are as near count as nearer, so
    that a collapsed model finds nothing; its own others do not count at all.

    Raises ValueError for an image or a text without a link.
    """
    x, y = normalize(image_features.float(), dim=-1), normalize(text_features.float(), dim=-1)
    for name, count, ends in (("image", len(x), links[:, 0]), ("text", len(y), links[:, 1])):
        if len(ends.unique()) != count:
            raise ValueError(f"links must name each of the {count} {name}s, they name {len(ends.unique())}")
    found: dict[str, float] = {}
    for direction, ranks in (
        ("image_to_text", own_ranks(x, y, links)),
        ("text_to_image", own_ranks(y, x, links.flip(1))),
    ):
        found |= {f"{direction}_recall_at_{k}": float((ranks < k).cpu().double().mean()) for k in ks}
    return found


def own_ranks(
    queries: Float[Tensor, "queries width"], keys: Float[Tensor, "keys width"], links: Int[Tensor, "links 2"]
) -> Int[Tensor, " queries"]:
    """Return for each query how many keys that are not its own are as near as the nearest of its own, from 0.

    Cosines are rounded to 1e-6, so that what differs by the order of a sum alone is as near.
    """
    ranks = []
    for rows in torch.arange(len(queries), device=queries.device).split(BLOCK):
        cosines = (queries[rows] @ keys.T).mul(1e6).round()
        first = int(rows[0])
        mine = links[(links[:, 0] >= first) & (links[:, 0] < first + len(rows))]
        own = torch.zeros_like(cosines, dtype=torch.bool)
        own[mine[:, 0] - first, mine[:, 1]] = True
        best = cosines.masked_fill(~own, -torch.inf).amax(1, keepdim=True)
        ranks.append(((cosines >= best) & ~own).sum(1))
    return torch.cat(ranks)
