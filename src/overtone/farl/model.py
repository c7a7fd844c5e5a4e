"""The trainable part of FARL around a frozen backbone, and its loss."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy, normalize

from overtone.farl.injection import encode_with_tokens, first_layer
from overtone.farl.low_rank import LowRankHead
from overtone.farl.states import ImageStates, TextStates, encode_buckets
from overtone.farl.tokens import INJECTIONS, Injection, RepresentationTokens
from overtone.models.backbone import Backbone


@dataclass(frozen=True)
class FarlConfig:
    """The method's own settings; the reconstruction's defaults are MMRL's where the paper is silent."""

    injection: Injection = "by_modality"
    tokens: int = 5  # K
    width: int = 512  # d_r
    heads: int = 8
    alpha: float = 0.7  # weight of the class feature against the token feature, in [0, 1]
    consistency: float = 0.5  # lambda, weight of staying near the frozen features
    head_rank: int | None = None  # of the token head's difference from the frozen projection (MMRL++); None: full
    map_rank: int | None = None  # of each layer's difference from a map that all layers share (MMRL++); None: full
    fresh: float = 1.0  # share of a layer's own tokens against those of the layer before (MMRL++), in (0, 1]
    prototype: float = 0.0  # weight of the mean of a class's pictures beside its text embedding, which has 1 (ours)

    def __post_init__(self) -> None:
        """Raise ValueError for a setting out of range."""
        if self.injection not in INJECTIONS:
            raise ValueError(f"injection must be one of {', '.join(INJECTIONS)}, got {self.injection!r}")
        if min(self.tokens, self.width, self.heads) < 1:
            raise ValueError(
                f"tokens, width and heads must be 1 or more, got {self.tokens}, {self.width}, {self.heads}"
            )
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha must lie in [0, 1], got {self.alpha}")
        if not 0 <= self.consistency < math.inf:
            raise ValueError(f"consistency must be 0 or more, got {self.consistency}")
        if any(rank is not None and rank < 1 for rank in (self.head_rank, self.map_rank)):
            raise ValueError(f"head_rank and map_rank must be 1 or more, got {self.head_rank}, {self.map_rank}")
        if not 0 <= self.prototype < math.inf:
            raise ValueError(f"prototype must be 0 or more, got {self.prototype}")
        if not 0 < self.fresh <= 1:
            raise ValueError(f"fresh must lie in (0, 1], got {self.fresh}")
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, got {self.width} and {self.heads}")


class FarlModel(nn.Module):
    """Representation tokens, the token-feature head and the mean streams; the backbone is no part of its state."""

    prototypes: Tensor | None
    mean_structure: Tensor
    mean_style: Tensor

    def __init__(self, backbone: Backbone, config: FarlConfig, classes: int = 0) -> None:
        """Take the number of classes where they have prototypes."""
        super().__init__()
        self.config = config
        self._backbone = (backbone,)  # in a tuple, so that the frozen weights stay out of state_dict and optimizers
        image, text = backbone.image, backbone.text
        image_layers, text_layers = (tower.depth - first_layer(tower.depth) for tower in (image, text))
        self.head = _head(image.projection_weight, config.head_rank)
        self.tokens = RepresentationTokens(
            config.tokens,
            config.width,
            config.heads,
            (image.width, image_layers),
            (text.width, text_layers),
            config.injection,
            config.map_rank,
        )
        features = image.projection_weight.shape[0]
        self.register_buffer("prototypes", torch.zeros(classes, features) if config.prototype else None)
        self.register_buffer("mean_structure", torch.zeros(1, config.tokens, config.width))
        self.register_buffer("mean_style", torch.zeros(1, config.tokens, config.width))

    @property
    def backbone(self) -> Backbone:
        """The frozen pair of towers."""
        return self._backbone[0]

    @property
    def uses_streams(self) -> bool:
        """Whether the tokens read phase and amplitude at all."""
        return self.config.injection != "plain"

    def read(self, states: ImageStates) -> tuple[Tensor, Tensor] | None:
        """Return the structure and style tokens of these images, or None without Fourier streams."""
        if not self.uses_streams or states.phase is None or states.amplitude is None:
            return None
        return self.tokens.read(states.phase, states.amplitude)

    def image_features(
        self, states: ImageStates, streams: tuple[Tensor, Tensor] | None
    ) -> tuple[Float[Tensor, "batch features"], Float[Tensor, "batch features"]]:
        """Return f_c, the class feature, and f_r, the token feature, both of unit length."""
        tower = self.backbone.image
        f_c, last = encode_with_tokens(tower, states.tokens, None, self.tokens.for_image(streams), self.config.fresh)
        f_r = self.head(tower.norm(last).mean(dim=1))
        return normalize(f_c, dim=-1), normalize(f_r, dim=-1)

    def text_features(
        self, states: TextStates, streams: tuple[Tensor, Tensor] | None
    ) -> Float[Tensor, "classes features"]:
        """Return w, one unit vector a class: the mean over its templates."""
        inserted = self.tokens.for_text(streams)
        tower, fresh = self.backbone.text, self.config.fresh

        def encode(tokens: Tensor, mask: Tensor | None) -> Tensor:
            return normalize(encode_with_tokens(tower, tokens, mask, inserted, fresh)[0], dim=-1)

        return states.per_class(encode_buckets(encode, states.buckets, len(inserted)))

    @property
    def mean_streams(self) -> tuple[Tensor, Tensor] | None:
        """The training set's mean S and T, which stand for the image when text is encoded after training."""
        return (self.mean_structure, self.mean_style) if self.uses_streams else None

    def forward(self, images: ImageStates, texts: TextStates, labels: Int[Tensor, " batch"]) -> dict[str, Tensor]:
        """Return the loss of a batch.

        L = a CE(f_c) + (1 - a) CE(f_r) + l (1 - cos(f_c, f_c^frozen)) + l (1 - cos(w, w^frozen)) (MMRL, eq. 11 to 14);
        with prototypes, CE is of the cosines with `with_prototypes(w)`.
        """
        streams = self.read(images)
        f_c, f_r = self.image_features(images, streams)
        mean = None if streams is None else (streams[0].mean(0, keepdim=True), streams[1].mean(0, keepdim=True))
        w = self.text_features(texts, mean)
        assert images.frozen is not None
        scale, a, consistency = self.backbone.logit_scale, self.config.alpha, self.config.consistency
        w_seen = self.with_prototypes(w)
        loss_c, loss_r = (cross_entropy(scale * f @ w_seen.T, labels) for f in (f_c, f_r))
        drift = (1 - cosine_similarity(f_c, images.frozen)).mean() + (1 - cosine_similarity(w, texts.frozen)).mean()
        return {"loss": a * loss_c + (1 - a) * loss_r + consistency * drift}

    def with_prototypes(
        self, w: Float[Tensor, "classes features"], rows: slice | list[int] = slice(None)
    ) -> Float[Tensor, "classes features"]:
        """Return (w + b p) / |w + b p| for seen classes, by their numbers; w where there are no prototypes (ours).

        p is the mean of a class's frozen image features, at unit length (Snell et al. 2017, arXiv 1703.05175, eq. 1),
        and b the config's `prototype`. Few pictures say more of their own class than its name may; with p to classify
        by, w need not bend to single classes, and keeps its sense for names never seen.
        """
        if self.prototypes is None:
            return w
        return normalize(w + self.config.prototype * self.prototypes[rows], dim=-1)

    def logits(
        self, f_c: Tensor, f_r: Tensor, w: Float[Tensor, "classes features"], seen: bool
    ) -> Float[Tensor, "batch classes"]:
        """Return a logits_c + (1 - a) logits_r for seen classes, the class logits alone if any is unseen (MMRL)."""
        scale, a = self.backbone.logit_scale, self.config.alpha
        logits_c = scale * f_c @ w.T
        return a * logits_c + (1 - a) * scale * f_r @ w.T if seen else logits_c


def _head(projection: Float[Tensor, "features width"], rank: int | None) -> nn.Module:
    """Return the token head; both kinds start as the tower's own projection (MMRL++; MMRL's is random)."""
    if rank is not None:
        return LowRankHead(projection, rank)
    features, width = projection.shape
    head = nn.Linear(width, features, bias=False)
    with torch.no_grad():
        head.weight.copy_(projection)
    return head
