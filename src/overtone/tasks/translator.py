"""A trained network with all that stands around it: subwords, languages, limit; what `train` leaves and others load."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedTokenizerFast

from overtone.errors import UserError
from overtone.files import write_atomically
from overtone.models.backbone import read_model
from overtone.models.translation import ShfinForTranslation
from overtone.tasks.runs import FINISHED, read_description
from overtone.tasks.translate_data import Encoded, encode, padded

NETWORK = "model"
FORMAT = 1
BEAMS, LONGER = 4, 50  # Vaswani et al. 2017, section 6.1: input length + 50 is the most
LENGTH_PENALTY = 1.4  # ours, from validation sentences: see docs/translation.md
TOKENS = 4096  # translated at a time, padding included


@dataclass(frozen=True)
class Translated:
    """A sentence's translation, and how many subwords at its end were left out because they were past the limit."""

    text: str
    cut: int = 0


class Translator:
    """A network that translates sentences."""

    def __init__(
        self,
        network: ShfinForTranslation,
        tokenizer: PreTrainedTokenizerFast,
        source: str,
        target: str,
        limit: int,
        made: dict[str, Any] | None = None,
    ) -> None:
        """Take the names of the languages, and the most subwords of a sentence.

        Raises ValueError for a vocabulary that is not the network's, and for a limit beyond the network's positions.
        """
        if len(tokenizer) != network.config.vocab_size:
            raise ValueError(f"the vocabulary has {len(tokenizer):,} subwords, the network {network.config.vocab_size}")
        if limit + 1 + LONGER > (most := network.config.max_position_embeddings):
            raise ValueError(f"limit must be at most {most - 1 - LONGER} for {most} positions, got {limit}")
        self.network, self.tokenizer, self.source, self.target = network, tokenizer, source, target
        self.limit, self.made = limit, made or {}
        network.generation_config = generation(network, tokenizer, limit)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.network.device

    def to(self, device: torch.device | str) -> "Translator":
        """Move the network and return this translator."""
        module: nn.Module = self.network
        module.to(device)
        return self

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Return sentences as subwords, cut at the limit."""
        return encode(self.tokenizer, texts, self.limit)

    @torch.no_grad()
    def translate(self, texts: Sequence[str], beams: int = BEAMS) -> list[Translated]:
        """Return the translation of each text, by beam search; an empty one stays empty."""
        encoded = self.encode(texts)
        found = [Translated("", int(cut)) for cut in encoded.cut]
        waiting = sorted((row for row, text in enumerate(texts) if text.strip()), key=lambda row: len(encoded[row]))
        self.network.eval()
        while waiting:
            few = max(1, TOKENS // len(encoded[waiting[-1]]))
            rows, waiting = waiting[-few:], waiting[:-few]  # the longest first: what does not fit fails at once
            for row, text in zip(rows, self._batch([encoded[row] for row in rows], beams), strict=True):
                found[row] = Translated(text, int(encoded.cut[row]))
        return found

    def _batch(self, sentences: Sequence[Any], beams: int) -> list[str]:
        network: Any = self.network
        ids = padded(sentences, network.config.pad_token_id)
        lengths = torch.tensor([len(sentence) for sentence in sentences])
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        written = network.generate(
            ids.to(self.device),
            attention_mask=mask.to(self.device),
            num_beams=beams,
            length_penalty=LENGTH_PENALTY if beams > 1 else 1.0,
            max_length=ids.shape[1] + LONGER,
            logits_processor=LogitsProcessorList([EndInTime(lengths + LONGER, network.config.eos_token_id)]),
        )
        return self.tokenizer.batch_decode(written, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def save(self, folder: Path) -> None:
        """Write network and subwords as transformers does, below `folder`, and last what they are."""
        self.network.save_pretrained(folder / NETWORK)
        self.tokenizer.save_pretrained(folder / NETWORK)
        described = {
            "format": FORMAT,
            "source": self.source,
            "target": self.target,
            "limit": self.limit,
            "vocabulary": fingerprint(self.tokenizer),
            **self.made,
        }
        write_atomically(folder / FINISHED["translate"], json.dumps(described, indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu") -> "Translator":
        """Read what `save` wrote; UserError when the folder does not hold it whole, or holds another vocabulary."""
        folder = Path(folder)
        try:
            described = read_description(folder, "translate", FORMAT)
            tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / NETWORK, local_files_only=True)
            if fingerprint(tokenizer) != described["vocabulary"]:
                raise UserError(
                    f"The vocabulary in {str(folder / NETWORK)!r} is not the one this network was trained with "
                    f"({len(tokenizer):,} subwords): put its own tokenizer.json back, or train again."
                )
            network = read_model(ShfinForTranslation, folder / NETWORK, str(folder / NETWORK), "auto")
            source, target, limit = (described.pop(name) for name in ("source", "target", "limit"))
            return cls(network, tokenizer, source, target, limit, described).to(device)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            said = " ".join(str(error).split())[:200]
            raise UserError(f"{str(folder)!r} holds no whole translator ({said}). Train again.") from error


class EndInTime(LogitsProcessor):
    """End each sentence's translation where it has as many subwords as its own length allows, whatever its batch's."""

    def __init__(self, most: Int[Tensor, " sentences"], end: int) -> None:
        self.most, self.end = most, end

    def __call__(
        self, input_ids: Int[Tensor, "beams length"], scores: Float[Tensor, "beams vocabulary"]
    ) -> Float[Tensor, "beams vocabulary"]:
        """Leave the end mark alone to sentences that have one subword left."""
        beams = len(input_ids) // len(self.most)
        last = (input_ids.shape[1] + 1 >= self.most.to(scores.device)).repeat_interleave(beams)[:, None]
        end = torch.full_like(scores, -torch.inf)
        end[:, self.end] = 0
        return torch.where(last, end, scores)


def generation(network: ShfinForTranslation, tokenizer: PreTrainedTokenizerFast, limit: int) -> GenerationConfig:
    """Return how `network.generate` translates unless told otherwise: marks that are no text are never written."""
    marks = {tokenizer.pad_token_id, tokenizer.unk_token_id, network.config.decoder_start_token_id}
    return GenerationConfig(
        num_beams=BEAMS,
        length_penalty=LENGTH_PENALTY,
        max_length=limit + 1 + LONGER,
        pad_token_id=network.config.pad_token_id,
        eos_token_id=network.config.eos_token_id,
        decoder_start_token_id=network.config.decoder_start_token_id,
        forced_eos_token_id=network.config.forced_eos_token_id,
        suppress_tokens=sorted(mark for mark in marks if mark is not None),
    )


def fingerprint(tokenizer: PreTrainedTokenizerFast) -> str:
    """Return what tells a vocabulary from another of the same size."""
    pairs = json.dumps(sorted(tokenizer.get_vocab().items()))
    return hashlib.sha256(pairs.encode()).hexdigest()
