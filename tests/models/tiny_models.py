"""Tiny random models and tokenizers: nothing here is ever downloaded."""

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipModel,
)

SIZE, HEADS, EOS = 32, 4, 299
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": HEADS}


def scatter(model: torch.nn.Module) -> torch.nn.Module:
    """Give every weight a random value, biases and norms too: at their initial zeros and ones they hide mistakes."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.dim() > 0:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def build_clip(attention: str = "sdpa", eos: int = EOS) -> CLIPModel:
    torch.manual_seed(0)
    text = SIZES | {"vocab_size": 300, "max_position_embeddings": 16, "eos_token_id": eos, "bos_token_id": 298}
    vision = SIZES | {"hidden_size": 48, "image_size": SIZE, "patch_size": 8}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=24, attn_implementation=attention)
    return scatter(CLIPModel(config))


def build_siglip(attention: str = "sdpa") -> SiglipModel:
    torch.manual_seed(0)
    text = SIZES | {"vocab_size": 50, "max_position_embeddings": 12, "projection_size": 32}
    vision = SIZES | {"image_size": SIZE, "patch_size": 8}
    return scatter(SiglipModel(SiglipConfig(text_config=text, vision_config=vision, attn_implementation=attention)))


def clip_tokenizer() -> CLIPTokenizer:
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = ["<|startoftext|>", *letters, *(f"{letter}</w>" for letter in letters), "ca", "cat</w>", "do", "dog</w>"]
    vocabulary = {word: index for index, word in enumerate(words)} | {"<|startoftext|>": 298, "<|endoftext|>": EOS}
    return CLIPTokenizer(vocab=vocabulary, merges=[("c", "a"), ("ca", "t</w>"), ("d", "o"), ("do", "g</w>")])


def siglip_tokenizer() -> PreTrainedTokenizerFast:
    words = {word: index for index, word in enumerate(["<pad>", "<unk>", "</s>", "a", "red", "cat", "dog"])}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", eos_token="</s>", padding_side="right"
    )
