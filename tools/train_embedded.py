"""Train the embedded model's image tower against its locked, distilled text tower, and write it into `assets/`.

Run as `python -m tools.train_embedded` after `tools.build_pretraining` and `tools.distill_text`. `--tower` and `--sde`
choose what is compared in `benchmarks.zero_shot`; `--out` is where the result goes.
"""

import argparse
import io
import re
import shutil
import tempfile
import time
from pathlib import Path

import kornia.augmentation as augment
import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from tools.build_pretraining import TABLE
from tools.distill_text import STUDENT, embed, load_tokenizer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, normalize
from transformers import BertModel

from overtone import training
from overtone.losses import SDE, SDEConfig
from overtone.models.assembly import NEW_IMAGE
from overtone.models.dual_encoder import MEAN, STD, DualEncoder, DualEncoderConfig
from overtone.spectral import amplitude_mix
from overtone.training import Anneal, Loop, TrainingConfig, undecayed

ASSET = Path(__file__).parent.parent / "src/overtone/assets/embedded"
ONE_WAY = re.compile(r"left|right|clock|letter|digit|button|arrow|number|keycap|alphabet|lowercase|uppercase|english")


def decode(image: bytes) -> Tensor:
    """Return a stored picture as uint8 RGBA, (4, 64, 64)."""
    return torch.from_numpy(np.array(Image.open(io.BytesIO(image)).convert("RGBA"))).permute(2, 0, 1)


class Pictures(torch.utils.data.Dataset):
    """The pretraining pictures, each with the number of its name."""

    def __init__(self, rows: list[dict]) -> None:
        self.pixels = torch.stack([decode(row["image"]) for row in rows])
        names = [row["captions"][0].lower() for row in rows]
        self.names = list(dict.fromkeys(names))
        self.name = torch.tensor([self.names.index(name) for name in names])
        self.may_flip = torch.tensor([not ONE_WAY.search(" ".join(row["captions"]).lower()) for row in rows])

    def __len__(self) -> int:
        return len(self.name)

    def __getitem__(self, index: int) -> int:
        return index

    def collate(self, indices: list[int]) -> dict[str, Tensor]:
        """Return pixels (batch, 4, 64, 64), which may be mirrored, and the numbers of the names."""
        return {"pixels": self.pixels[indices], "may_flip": self.may_flip[indices], "name": self.name[indices]}


class Augmentation(nn.Module):
    """Backgrounds, affine maps, colours, and another picture's amplitude spectrum."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size  # pixels a side
        self.move = augment.RandomAffine(10, (0.1, 0.1), (0.8, 1.1), p=0.6)
        self.colour = augment.ColorJitter(0.2, 0.2, 0.3, 0.04, p=0.5)
        self.grey = augment.RandomGrayscale(p=0.05)

    def forward(self, pixels: Tensor, may_flip: Tensor) -> Tensor:
        """Return augmented RGB in [0, 1] of RGBA bytes."""
        rgba = self.move(pixels.float() / 255)
        flip = may_flip & (torch.rand(len(rgba)) < 0.5)
        rgba = torch.where(flip.view(-1, 1, 1, 1), rgba.flip(-1), rgba)
        white = torch.ones(len(rgba), 3, 1, 1)
        background = torch.where(torch.rand(len(rgba), 1, 1, 1) < 0.9, white, torch.rand(len(rgba), 3, 1, 1))
        rgb = rgba[:, :3] * rgba[:, 3:] + background * (1 - rgba[:, 3:])
        rgb = self.grey(self.colour(rgb.clamp(0, 1)))
        rgb = interpolate(rgb, self.size, mode="bilinear", antialias=True)
        share = torch.rand(len(rgb)) * (torch.rand(len(rgb)) < 0.1)
        return amplitude_mix(rgb, rgb.roll(1, 0), share).clamp(0, 1)


class AmongNames(nn.Module):
    """Cross-entropy of a picture's name among all names, as the locked text tower embeds them; a base for SDE."""

    names: Tensor

    def __init__(self, names: Tensor) -> None:
        super().__init__()
        self.register_buffer("names", names, persistent=False)

    def forward(self, image_features: Tensor, _: Tensor, logit_scale: Tensor, name: Tensor) -> Tensor:
        """Return the cross-entropy of the scaled cosines; the names of the batch as SDE enhances them are not used."""
        logits = logit_scale * normalize(image_features, dim=-1) @ self.names.T
        return cross_entropy(logits, name, label_smoothing=0.05)


class Pretraining(nn.Module):
    """The dual encoder with its loss; `sde_steps` is the number of steps of a training with SDE."""

    def __init__(self, model: DualEncoder, names: Tensor, sde_steps: int | None) -> None:
        super().__init__()
        self.model, self.augmentation = model, Augmentation(model.config.image_size)
        with torch.no_grad():
            self.base = AmongNames(normalize(model.text.projection(names), dim=-1))
        self.loss = self.base if sde_steps is None else SDE(self.base, SDEConfig(steps=sde_steps))

    def forward(self, pixels: Tensor, may_flip: Tensor, name: Tensor) -> dict[str, Tensor]:
        """Return the loss of a batch."""
        with torch.no_grad():
            rgb = (self.augmentation(pixels, may_flip) - MEAN) / STD
        image = self.model.image(rgb.contiguous(memory_format=torch.channels_last))
        return {"loss": self.loss(image, self.base.names[name], self.model.logit_scale.exp(), name=name)}


@torch.no_grad()
def embed_texts(bert: BertModel, texts: list[str]) -> Tensor:
    """Return the text tower's mean tokens, before its projection."""
    tokenizer, out = load_tokenizer(), []
    for start in range(0, len(texts), 256):
        batch = tokenizer(texts[start : start + 256], padding=True, truncation=True, max_length=32, return_tensors="pt")
        out.append(embed(bert, {key: batch[key] for key in ("input_ids", "attention_mask")}))
    return torch.cat(out)


def build_model(bert: BertModel, names: Tensor, tower: str) -> DualEncoder:
    """Return the model at its start, the text tower locked, its projection set to spread the names."""
    text = bert.config.to_dict()
    del text["_name_or_path"]  # where it stood on the machine that trained it
    model = DualEncoder(DualEncoderConfig(**NEW_IMAGE[tower], text=text))
    model.text.bert.load_state_dict(bert.state_dict())
    model.text.projection.weight.data = whitening(names)
    model.text.requires_grad_(False)
    return model


def whitening(names: Tensor) -> Tensor:
    """Return (C + e I)^(-1/2) for the second moment C of unit embeddings, with e the mean of its eigenvalues.

    Names that share a word lie close together; this takes the shared directions back. Trained freely, the map would
    forget what it was not shown: names never seen.
    """
    values, vectors = torch.linalg.eigh(names.T @ names / len(names))
    return (vectors * (values + values.mean()).rsqrt()) @ vectors.T


def train(model: Pretraining, pictures: Pictures, options: argparse.Namespace) -> None:
    """Train with AdamW and a cosine schedule."""
    config = TrainingConfig(
        epochs=options.epochs,
        batch_size=options.batch,
        learning_rate=options.rate,
        weight_decay=0.05,
        warmup_epochs=options.epochs / 20,
        seed=options.seed,
    )
    anneal = Anneal(lambda fraction: model.model.set_progress(fraction, options.seed))
    loop = Loop("training", whole_batches=True, undecayed=undecayed(model.model, "model."), callbacks=(anneal,))
    with tempfile.TemporaryDirectory() as folder:
        log = training.train(model, pictures, pictures.collate, config, Path(folder), resume=False, loop=loop)
    some = log[4::25]  # there are five records an epoch: the last of every fifth
    print("\n".join(f"epoch {record['epoch']:5.1f}  loss {record['loss']:.3f}" for record in some))


def main() -> None:
    """Train and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tower", choices=list(NEW_IMAGE), default="conv")
    parser.add_argument("--sde", action="store_true")
    parser.add_argument("--out", type=Path, default=ASSET)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    bert = BertModel.from_pretrained(STUDENT, add_pooling_layer=False, dtype=torch.float32).eval()
    pictures = Pictures(pq.read_table(TABLE).to_pylist())
    names = normalize(embed_texts(bert, pictures.names), dim=-1)
    print(f"{len(pictures)} pictures, {len(names)} names")
    model = build_model(bert, names, options.tower)
    steps = options.epochs * (len(pictures) // options.batch)
    started = time.process_time()
    train(Pretraining(model, names, steps if options.sde else None), pictures, options)
    print(f"trained in {(time.process_time() - started) / 60:.0f} minutes of one core")
    model.half().save_pretrained(options.out)
    shutil.copy(STUDENT / "tokenizer.json", options.out)


if __name__ == "__main__":
    main()
