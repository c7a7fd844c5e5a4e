"""A tiny dual encoder, and pictures with captions that it can learn in seconds."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar

from overtone.models.assembly import Assembly, Side, assemble
from overtone.models.preparation import plain_processor
from overtone.tasks.pretrain import PretrainConfig, PretrainResult, pretrain
from overtone.training import Bar

COLOURS = {"red": (210, 40, 40), "green": (40, 190, 40), "blue": (40, 40, 210), "yellow": (210, 200, 30)}
SHAPES = ("square", "bar", "frame", "cross")
KINDS = [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES]
SIZE = 16


def draw(kind: str, seed: int) -> Image.Image:
    """A shape of a colour on grey noise."""
    colour, shape = kind.split()
    pixels = np.random.default_rng(seed).integers(90, 150, size=(SIZE, SIZE, 3)).astype(np.uint8)
    inside = np.zeros((SIZE, SIZE), bool)
    if shape in ("square", "frame"):
        inside[3:13, 3:13] = True
    if shape == "frame":
        inside[6:10, 6:10] = False
    if shape in ("bar", "cross"):
        inside[6:10, 2:14] = True
    if shape == "cross":
        inside[2:14, 6:10] = True
    pixels[inside] = COLOURS[colour]
    return Image.fromarray(pixels)


def write_pairs(folder: Path, a_kind: int = 4) -> Path:
    """Pictures in levels, each beside its captions: the kind, and two words more."""
    for level, count in (("train", a_kind), ("validation", 2), ("test", 2)):
        (folder / level).mkdir(parents=True)
        for row, kind in enumerate(KINDS):
            for number in range(count):
                name = f"{kind.replace(' ', '-')}-{number}"
                seed = 1000 * row + 100 * number + len(level)
                draw(kind, seed).save(folder / level / f"{name}.png")
                (folder / level / f"{name}.txt").write_text(f"{kind}\na {kind} on grey\n")
    return folder


def tokenizer() -> PreTrainedTokenizerFast:
    words = ["[PAD]", "[UNK]", "[CLS]", "a", "on", "grey", *COLOURS, *SHAPES]
    model = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    model.pre_tokenizer = Whitespace()
    model.post_processor = TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=model, pad_token="[PAD]", unk_token="[UNK]")


def tiny(dropout: float = 0.0, siglip: bool = False, stem: str = "shfin", seed: int = 0) -> Assembly:
    """A dual encoder of a few thousand weights."""
    shfin = {"stem": 2, "dims": (16,), "depths": (1,), "patches": (4,), "kept": (5,), "rank": 2}
    fields = {"image_size": SIZE, "width": 32, "depth": 2, "heads": 2}
    fields |= {"shfin": shfin} if stem == "shfin" else {"stem": (8, 16)}
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    drops = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    text = BertConfig(vocab_size=14, max_position_embeddings=12, **sizes, **drops).to_dict()
    image, texts = Side("tiny", fields, plain_processor(SIZE)), Side("tiny", text, tokenizer())
    # fewer features than pairs in a batch: of directions that no pair is in, any basis is as good to SDE
    return assemble(image, texts, logit_bias=siglip, seed=seed, features=12)


SETTINGS: dict[str, Any] = {"steps": 12, "batch_size": 16, "learning_rate": 3e-3, "device": "cpu"}


def run(data: object, out: object, assembly: Assembly | None = None, **settings: Any) -> PretrainResult:
    """Pre-train the tiny model, for a dozen steps unless told."""
    given = SETTINGS | {"loss": "infonce"} | settings
    return pretrain(
        PretrainConfig(str(data), out=str(out), **given), assembly or tiny(siglip=given["loss"] == "siglip")
    )


def weights(assembly: Assembly) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in assembly.model.parameters()])


def die_at(step: int) -> None:
    """Let this process be killed, as by `kill -9`, once a step is done."""
    original = Bar.on_step_end

    def killed(bar: Bar, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        original(bar, args, state, control, **kwargs)
        if state.global_step == step:
            os.kill(os.getpid(), signal.SIGKILL)

    Bar.on_step_end = killed  # type: ignore[method-assign]


def main() -> None:
    """Run as told on the command line: data, out, and as JSON the settings, `dropout` and `die_at` among them."""
    disable_progress_bar()
    data, out, given = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    torch.set_num_threads(given.pop("threads"))  # sums are bit for bit the same with as many
    dropout, step = given.pop("dropout", 0.0), given.pop("die_at", None)
    if step is not None:
        die_at(step)
    run(data, out, tiny(dropout, siglip=given.get("loss") == "siglip"), **given)


if __name__ == "__main__":
    main()
