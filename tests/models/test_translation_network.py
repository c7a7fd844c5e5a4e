"""Translation networks: Marian's own where nothing is replaced, exact padding, reach, no future, cache, saving."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForSeq2SeqLM, MarianConfig, MarianMTModel

from overtone.models import ShfinForTranslation, ShfinTranslationConfig
from overtone.models.translation_layers import TEXT_MIXERS, OwnLength, SpectralMemory
from overtone.nn import AFNO, SHFIN, FNet

LITTLE = {"vocab_size": 40, "d_model": 16, "encoder_layers": 4, "decoder_layers": 2, "encoder_ffn_dim": 24}
LITTLE |= {"decoder_ffn_dim": 24, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "rank": 2}
KINDS = [*({"mixer": mixer} for mixer in TEXT_MIXERS), {"gated": True}, {"cross": "shfin"}]
EXACT = {"rtol": 0, "atol": 1e-10}  # float64, after four layers


def little(**changes: Any) -> ShfinForTranslation:
    """A network of random weights, and of scores that choose other frequencies than the first."""
    torch.manual_seed(0)
    model = ShfinForTranslation(ShfinTranslationConfig(**LITTLE | changes)).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, SHFIN):
                module.scores.normal_()
    return model


def tokens(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(3, 40, shape, generator=torch.Generator().manual_seed(seed))


def test_with_attention_it_is_marian() -> None:
    """The same weights under the same names give the same logits, with padding too."""
    model = little(mixer="attention")
    settings = {k: v for k, v in model.config.to_dict().items() if k in MarianConfig().to_dict() and k != "model_type"}
    marian = MarianMTModel(MarianConfig(**settings)).eval()
    marian.load_state_dict(model.state_dict())
    mask = torch.ones(2, 30, dtype=torch.long)
    mask[1, 11:] = 0
    source, target = tokens(2, 30), tokens(2, 9, seed=1)
    assert torch.equal(model(source, mask, target).logits, marian(source, mask, target).logits)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("length", [1, 12, 16, 40])
def test_a_sentence_does_not_depend_on_what_it_is_batched_with(kind: dict[str, Any], length: int) -> None:
    model = little(**kind).double()
    source, target, mask = tokens(3, 150), tokens(3, 5, seed=1), torch.ones(3, 150, dtype=torch.long)
    mask[0, length:] = 0
    mask[1, length:] = 0
    source[1, length:] = 0
    together = model(source, mask, target)
    alone = model(source[:1, :length], None, target[:1])
    encodings = together.encoder_last_hidden_state, alone.encoder_last_hidden_state
    torch.testing.assert_close(encodings[0][:1, :length], encodings[1], **EXACT)
    torch.testing.assert_close(together.logits[:1], alone.logits, **EXACT)
    again = model(source[:2], mask[:2], target[:2])
    torch.testing.assert_close(again.logits, together.logits[:2], **EXACT)


def reached(model: ShfinForTranslation, length: int = 140) -> Tensor:
    """Return whether the encoding at each position depends on the token at position 5."""
    embeddings = torch.randn(1, length, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    embeddings.requires_grad_()
    changed = embeddings.detach().clone()
    changed[0, 5] += 1
    first, second = (model.double().model.encoder(inputs_embeds=e).last_hidden_state for e in (embeddings, changed))
    return (first - second).abs().amax(-1)[0] > 1e-9


def test_a_token_a_hundred_positions_away_matters() -> None:
    far = reached(little())
    assert far[105]
    assert far.all()  # beyond the border of the longest patch too, by the shift
    small = reached(little(patches=(16,) * 4, kept=(6,) * 4))
    assert small.nonzero().max() == 39  # of patches 0..15, 8..23, then 16..31, 24..39: half a patch a layer
    assert not reached(little(patches=(16,) * 4, kept=(6,) * 4))[105]


def test_the_patches_that_are_shifted() -> None:
    assert ShfinTranslationConfig().patches == [16, 128, 16, 128, 16, 128]
    assert ShfinTranslationConfig().shifted == [False, False, True, True, False, False]
    uniform = ShfinTranslationConfig(encoder_layers=3, patches=[8] * 3, kept=[4] * 3)
    assert uniform.shifted == [False, True, False]
    layers = little().model.encoder.layers
    assert [layer.self_attn.mixer.shift for layer in layers] == [False, False, True, True]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_decoder_sees_no_future(kind: dict[str, Any]) -> None:
    model, source, target = little(**kind).double(), tokens(2, 20), tokens(2, 12, seed=1)
    other = target.clone()
    other[:, 7:] = tokens(2, 5, seed=2)
    before, after = model(source, None, target).logits, model(source, None, other).logits
    torch.testing.assert_close(before[:, :7], after[:, :7], **EXACT)
    assert not torch.allclose(before[:, 7:], after[:, 7:])


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("beams", [1, 4])
def test_generating_with_the_cache_is_generating_without(kind: dict[str, Any], beams: int) -> None:
    model, source = little(**kind).double(), tokens(3, 20)
    mask = torch.ones(3, 20, dtype=torch.long)
    mask[1, 6:] = 0
    settings = {"attention_mask": mask, "num_beams": beams, "max_length": 15, "length_penalty": 0.6}
    cached = model.generate(source, use_cache=True, **settings)
    assert torch.equal(cached, model.generate(source, use_cache=False, **settings))
    alone = model.generate(source[1:2, :6], num_beams=beams, max_length=15, length_penalty=0.6)
    assert torch.equal(cached[1, : alone.shape[1]], alone[0])
    assert (cached[:, 0] == model.config.decoder_start_token_id).all()


def test_the_decoder_s_step_is_that_of_the_whole_with_a_spectral_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """And after the first step the memory is not computed again."""
    model, source, target = little(cross="shfin").double(), tokens(2, 40), tokens(2, 6, seed=1)
    whole = model(source, None, target).logits
    calls, original = [], SpectralMemory.forward

    def counted(memory: SpectralMemory, *args: Any) -> Tensor:
        calls.append(memory)
        return original(memory, *args)

    monkeypatch.setattr(SpectralMemory, "forward", counted)
    encoded, cache, steps = model.model.encoder(source), None, []
    for t in range(6):
        out = model(
            encoder_outputs=encoded, decoder_input_ids=target[:, t : t + 1], past_key_values=cache, use_cache=True
        )
        cache = out.past_key_values
        steps.append(out.logits)
    torch.testing.assert_close(torch.cat(steps, 1), whole, **EXACT)
    assert len(calls) == 1
    assert cache.cross_attention_cache.layers[0].keys.shape[2] == 3 * 6  # three patches of 16, K = 6


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_what_is_saved_comes_back(kind: dict[str, Any], tmp_path: Path) -> None:
    model, source, target = little(**kind), tokens(2, 20), tokens(2, 5, seed=1)
    model.save_pretrained(tmp_path)
    assert [file.suffix for file in tmp_path.iterdir() if "model" in file.name] == [".safetensors"]
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path).eval()
    assert isinstance(AutoConfig.from_pretrained(tmp_path), ShfinTranslationConfig)
    assert torch.equal(again(source, None, target).logits, model(source, None, target).logits)
    assert again.lm_head.weight is again.model.shared.weight
    assert again.model.encoder.embed_tokens.weight is again.model.shared.weight


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_everything_learns(kind: dict[str, Any]) -> None:
    model = little(**kind).train()
    model.set_progress(0.1)
    mask = torch.ones(2, 20, dtype=torch.long)
    mask[1, 6:] = 0
    model(tokens(2, 20), mask, labels=tokens(2, 5, seed=1)).loss.backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any() or "mixer" not in name, name  # a bias of Marian's keys has none


def test_what_decay_must_leave_alone_and_what_was_chosen() -> None:
    model = little(cross="shfin")
    assert len(model.no_weight_decay()) == 2 * 5  # scores and gates of four layers and the memory
    shown = dict(model.chosen_frequencies())
    assert [kept.shape for kept in shown.values()] == [(16,), (128,), (16,), (128,), (16,)]
    assert little(mixer="fnet").chosen_frequencies() == []


def test_the_noise_follows_from_progress_and_seed() -> None:
    model = little().train()
    noise = []
    for fraction, seed in ((0.1, 0), (0.2, 0), (0.1, 1), (0.1, 0)):
        model.set_progress(fraction, seed)
        noise.append(model.model.encoder.layers[0].self_attn.mixer.noise.clone())
    assert torch.equal(noise[0], noise[3])
    assert not torch.equal(noise[0], noise[1])
    assert not torch.equal(noise[0], noise[2])


def test_sizes_of_transformer_small() -> None:
    """The seed's 38.0 M for the transformer, within 3 %; its 26.1 M for SHFIN cannot be: embeddings and decoder alone
    have 26.5 M."""

    def trained(mixer: str) -> int:
        with torch.device("meta"):
            model = ShfinForTranslation(ShfinTranslationConfig(mixer=mixer))
        return sum(p.numel() for p in model.parameters() if p.requires_grad)

    assert trained("attention") == pytest.approx(38.0e6, rel=0.03)
    assert trained("shfin") == pytest.approx(34.5e6, rel=0.002)


def test_fnet_and_afno_mix_a_sentence_over_its_own_length() -> None:
    for mixer in (FNet(16), AFNO(16)):
        x, real = torch.randn(4, 9, 16), torch.tensor([9, 5, 0, 5])[:, None] > torch.arange(9)
        mixed = OwnLength(mixer)(x, real)
        torch.testing.assert_close(mixed[1, :5], mixer(x[1:2, :5])[0])
        torch.testing.assert_close(mixed[0], mixer(x[:1])[0])
        assert not mixed[~real].any()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mixer": "gfnet"}, "mixer must be one of shfin, attention, fnet, afno, got 'gfnet'"),
        ({"cross": "fnet"}, "cross must be one of attention, shfin, got 'fnet'"),
        ({"patches": (16, 16)}, "each of 4 encoder layers needs one"),
        ({"kept": (10, 16, 6, 16)}, "kept must be from 1 to 9, the independent frequencies"),
    ],
)
def test_what_it_refuses(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        little(**changes)
