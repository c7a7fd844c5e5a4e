"""Train the embedded model's image tower against its locked, distilled text tower, and write it into `assets/`.

Run as `python -m tools.train_embedded` after `tools.build_pretraining` and `tools.distill_text`.
"""

import argparse
import io
import random
import re
import shutil
import time
from pathlib import Path

import kornia.augmentation as augment
import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from tools.build_pretraining import TABLE
from tools.distill_text import STUDENT, load_tokenizer
from tools.packages import WORK
from torch import Tensor, nn
from torch.nn.functional import interpolate, log_softmax, normalize
from transformers import BertModel, Trainer, TrainingArguments

from overtone.models.dual_encoder import MEAN, STD, DualEncoder, DualEncoderConfig
from overtone.spectral import amplitude_mix

ASSET = Path(__file__).parent.parent / "src/overtone/assets/embedded"
EXTRA_NEGATIVES = 2048  # captions of other pictures that every picture is told apart from
ONE_WAY = re.compile(r"left|right|clock|letter|digit|button|arrow|number|keycap|alphabet|lowercase|uppercase|english")


def decode(image: bytes) -> Tensor:
    """Return a stored picture as uint8 RGBA, (4, 64, 64)."""
    return torch.from_numpy(np.array(Image.open(io.BytesIO(image)).convert("RGBA"))).permute(2, 0, 1)


class Pictures(torch.utils.data.Dataset):
    """The pretraining pictures, with the numbers of their captions in one list of texts."""

    def __init__(self, rows: list[dict]) -> None:
        self.pixels = torch.stack([decode(row["image"]) for row in rows])
        self.texts = list(dict.fromkeys(caption.lower() for row in rows for caption in row["captions"]))
        number = {text: i for i, text in enumerate(self.texts)}
        self.captions = [list(dict.fromkeys(number[c.lower()] for c in row["captions"])) for row in rows]
        self.may_flip = [not ONE_WAY.search(" ".join(row["captions"]).lower()) for row in rows]
        self.owners = torch.zeros(len(rows), len(self.texts), dtype=torch.bool)
        for i, captions in enumerate(self.captions):
            self.owners[i, captions] = True

    def __len__(self) -> int:
        return len(self.captions)

    def __getitem__(self, index: int) -> int:
        return index

    def draw_caption(self, index: int) -> int:
        """Draw the first caption (the name or title) half of the time, else any."""
        captions = self.captions[index]
        return captions[0] if random.random() < 0.5 else random.choice(captions)

    def collate(self, indices: list[int]) -> dict[str, Tensor]:
        """Return pixels (batch, 4, 64, 64), text numbers and which of the texts belong to which picture."""
        texts = torch.tensor([self.draw_caption(i) for i in indices])
        texts = torch.cat([texts, torch.randint(len(self.texts), (EXTRA_NEGATIVES,))])
        return {
            "pixels": self.pixels[indices],
            "flip": torch.tensor([self.may_flip[i] and random.random() < 0.5 for i in indices]),
            "texts": texts,
            "belongs": self.owners[indices][:, texts],
        }


class Augmentation(nn.Module):
    """Backgrounds, affine maps, colours, and another picture's amplitude spectrum."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size  # pixels a side
        self.move = augment.RandomAffine(10, (0.1, 0.1), (0.75, 1.1), p=0.7)
        self.colour = augment.ColorJitter(0.3, 0.3, 0.4, 0.06, p=0.7)
        self.grey = augment.RandomGrayscale(p=0.1)

    def forward(self, pixels: Tensor, flip: Tensor) -> Tensor:
        """Return augmented RGB in [0, 1] of RGBA bytes."""
        rgba = self.move(pixels.float() / 255)
        rgba = torch.where(flip.view(-1, 1, 1, 1), rgba.flip(-1), rgba)
        white = torch.ones(len(rgba), 3, 1, 1)
        background = torch.where(torch.rand(len(rgba), 1, 1, 1) < 0.6, white, torch.rand(len(rgba), 3, 1, 1))
        rgb = rgba[:, :3] * rgba[:, 3:] + background * (1 - rgba[:, 3:])
        rgb = self.grey(self.colour(rgb.clamp(0, 1)))
        rgb = interpolate(rgb, self.size, mode="bilinear", antialias=True)
        share = torch.rand(len(rgb)) * (torch.rand(len(rgb)) < 0.2)
        return amplitude_mix(rgb, rgb.roll(1, 0), share).clamp(0, 1)


class Pretraining(nn.Module):
    """The dual encoder with its loss: InfoNCE with every caption of a picture as a positive."""

    def __init__(self, model: DualEncoder, texts: Tensor) -> None:
        super().__init__()
        self.model, self.augmentation = model, Augmentation(model.config.image_size)
        self.register_buffer("table", texts, persistent=False)  # pooled outputs of the locked text tower

    def forward(self, pixels: Tensor, flip: Tensor, texts: Tensor, belongs: Tensor) -> dict[str, Tensor]:
        """Return the mean of the two directions' losses."""
        with torch.no_grad():
            rgb = (self.augmentation(pixels, flip) - MEAN) / STD
        image = normalize(self.model.image(rgb.contiguous(memory_format=torch.channels_last)), dim=-1)
        text = normalize(self.model.text.projection(self.table[texts]), dim=-1)
        logits = self.model.logit_scale.exp().clamp(max=100) * image @ text.T
        own, own_belongs = logits[:, : len(image)], belongs[:, : len(image)]
        return {"loss": (soft_cross_entropy(logits, belongs) + soft_cross_entropy(own.T, own_belongs.T)) / 2}


def soft_cross_entropy(logits: Tensor, positives: Tensor) -> Tensor:
    """Return the mean cross-entropy with the target spread evenly over each row's positives."""
    target = positives / positives.sum(-1, keepdim=True)
    return -(target * log_softmax(logits, dim=-1)).sum(-1).mean()


@torch.no_grad()
def embed_texts(bert: BertModel, texts: list[str]) -> Tensor:
    """Return the text tower's mean tokens, before its projection."""
    tokenizer, out = load_tokenizer(), []
    for start in range(0, len(texts), 256):
        batch = tokenizer(texts[start : start + 256], padding=True, truncation=True, max_length=32, return_tensors="pt")
        hidden = bert(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1)
        out.append((hidden * mask).sum(1) / mask.sum(1))
    return torch.cat(out)


def build_model(bert: BertModel) -> DualEncoder:
    """Return the model at its start: locked text tower, text projection at identity."""
    model = DualEncoder(DualEncoderConfig(text=bert.config.to_dict()))
    model.text.bert.load_state_dict(bert.state_dict())
    model.text.bert.requires_grad_(False)
    nn.init.eye_(model.text.projection.weight)
    return model


def train(model: nn.Module, pictures: Pictures, options: argparse.Namespace) -> None:
    """Train with AdamW and a cosine schedule, by the Trainer."""
    arguments = TrainingArguments(
        output_dir=str(WORK / "embedded-run"), num_train_epochs=options.epochs, learning_rate=options.rate,
        per_device_train_batch_size=options.batch, weight_decay=0.05, warmup_steps=0.05, lr_scheduler_type="cosine",
        seed=options.seed, save_strategy="no", logging_steps=20, report_to="none", remove_unused_columns=False,
        dataloader_drop_last=True,
    )  # fmt: skip
    Trainer(model=model, args=arguments, train_dataset=pictures, data_collator=pictures.collate).train()


def main() -> None:
    """Train and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=float, default=20)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    random.seed(options.seed)
    bert = BertModel.from_pretrained(STUDENT, add_pooling_layer=False, dtype=torch.float32).eval()
    pictures = Pictures(pq.read_table(TABLE).to_pylist())
    print(f"{len(pictures)} pictures, {len(pictures.texts)} texts")
    model = build_model(bert)
    started = time.time()
    train(Pretraining(model, embed_texts(bert, pictures.texts)), pictures, options)
    print(f"trained in {(time.time() - started) / 60:.0f} minutes with {torch.get_num_threads()} threads")
    model.half().save_pretrained(ASSET)
    shutil.copy(STUDENT / "tokenizer.json", ASSET)


if __name__ == "__main__":
    main()
