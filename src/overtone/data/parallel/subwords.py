"""One vocabulary of subwords for both languages, learned from the sentences themselves."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from overtone.data.parallel.sentences import Sentences

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, BEGIN, END, UNKNOWN = "<pad>", "<s>", "</s>", "<unk>"  # in this order: the ids are 0 to 3
SPECIAL = (PAD, BEGIN, END, UNKNOWN)
BYTES = 256
SMALLEST = len(SPECIAL) + BYTES
BATCH = 10_000  # sentences handed over at once


def train_subwords(sentences: Sentences, size: int, folder: Path) -> "PreTrainedTokenizerFast":
    """Learn at most `size` subwords common to both languages, save them in `folder`, and return the tokenizer.

    Byte-pair encoding (Sennrich et al. 2016) over the bytes of UTF-8, so that no text is out of the vocabulary and
    decoding gives back what was encoded, in NFC and with single spaces. The seed's size is 32,000; a text that holds
    fewer pairs of bytes to merge has a smaller vocabulary. Encoding ends a sentence with </s>; <s> begins decoding.
    Names such as "</s>" in a text are text.

    Raises ValueError for a size below 260, the bytes and the four special tokens, and for no sentences.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    if size < SMALLEST:
        raise ValueError(f"size: at least {SMALLEST}, the bytes and the special tokens, is needed, not {size}")
    if not len(sentences):
        raise ValueError("sentences: there are none to learn subwords from")
    model = Tokenizer(models.BPE(unk_token=UNKNOWN))
    model.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )
    # A space before the first word too: a word is the same subwords wherever it stands.
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    model.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    model.train_from_iterator(_batches(sentences), trainer, length=len(sentences.source) + len(sentences.target))
    model.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", special_tokens=[(END, model.token_to_id(END))]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=model,
        pad_token=PAD,
        bos_token=BEGIN,
        eos_token=END,
        unk_token=UNKNOWN,
        clean_up_tokenization_spaces=False,
        split_special_tokens=True,
        padding_side="right",
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def _batches(sentences: Sentences) -> Iterator[list[str]]:
    for texts in (sentences.source, sentences.target):
        for start in range(0, len(texts), BATCH):
            yield list(texts[start : start + BATCH])
