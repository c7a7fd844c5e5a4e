"""How a translator is trained: the Trainer with label smoothing, what is measured on the way, averaged checkpoints."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments, TrainerCallback, TrainingArguments

from overtone.data.parallel import Sentences
from overtone.files import write_atomically
from overtone.processes import processes
from overtone.tasks.translate_data import IGNORED, PairBatches, on_device
from overtone.tasks.translate_scores import bleu
from overtone.tasks.translator import Translator
from overtone.training import GuardedTrainer

SNAPSHOTS = "averaging"


class TranslationTrainer(GuardedTrainer, Seq2SeqTrainer):
    """The Trainer for sequences, whose label smoothing does not take the logits' memory a second time."""

    Arguments = Seq2SeqTrainingArguments

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the mean cross-entropy of a batch's target tokens, with label smoothing (Szegedy et al. 2016)."""
        labels = inputs["labels"]
        outputs = model(**{name: tensor for name, tensor in inputs.items() if name != "labels"}, use_cache=False)
        loss = token_loss(outputs.logits, labels, self.args.label_smoothing_factor)
        return (loss, outputs) if return_outputs else loss


def token_loss(logits: Tensor, labels: Tensor, smoothing: float = 0.0, reduction: str = "mean") -> Tensor:
    """Return the cross-entropy of target tokens; of smoothed ones, `smoothing` is spread over the vocabulary."""
    flat = logits.flatten(0, 1).float()
    return cross_entropy(flat, labels.flatten(), ignore_index=IGNORED, label_smoothing=smoothing, reduction=reduction)


class Watch:
    """Measures a network that is being trained on sentences that it does not learn from."""

    def __init__(self, translator: Translator, sentences: Sentences, pairs: PairBatches, tokens: int) -> None:
        """Take the sentences as text and as subwords, and the tokens of a batch."""
        self.translator, self.sentences, self.pairs = translator, sentences, pairs
        self.batches = pairs.rows_by_length(tokens, seed=0, epoch=0)

    def __call__(self) -> dict[str, float]:
        """Return the loss a token, without smoothing, and the BLEU of what is translated greedily."""
        network = self.translator.network
        training = network.training
        network.eval()
        hypotheses = [found.text for found in self.translator.translate(self.sentences.source, beams=1)]
        figures = {"validation_loss": self.loss(), "validation_bleu": bleu(hypotheses, self.sentences.target)}
        network.train(training)
        return figures

    @torch.no_grad()
    def loss(self) -> float:
        """Return the mean cross-entropy of the target tokens."""
        total = torch.tensor(0.0, dtype=torch.float64)
        for rows in self.batches:
            batch = on_device(self.pairs.batch(rows.tolist()), self.translator.device)
            labels = batch.pop("labels")
            total += token_loss(self.translator.network(**batch).logits, labels, reduction="sum").cpu().double()
        return total.item() / int(self.pairs.target.lengths.sum())


class Snapshots(TrainerCallback):
    """Keep the weights at some steps, to be averaged at the end (Vaswani et al. 2017, section 6.1).

    A run that goes on writes those again that it had written after its checkpoint, and the same.
    """

    def __init__(self, folder: Path, steps: Collection[int]) -> None:
        self.folder, self.steps = folder, steps

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Write them."""
        if state.global_step in self.steps and state.is_world_process_zero:
            self.folder.mkdir(exist_ok=True)
            weights = {name: p.detach().cpu().contiguous() for name, p in trained_parameters(kwargs["model"])}
            write_atomically(self.folder / f"{state.global_step}.safetensors", save(weights))


@torch.no_grad()
def average(network: nn.Module, folder: Path, steps: Sequence[int]) -> None:
    """Give a network the mean of the weights that were kept at `steps`."""
    if processes() > 1:
        torch.distributed.barrier()  # the first process has written them
    kept = [load_file(folder / f"{step}.safetensors") for step in steps]
    for name, parameter in trained_parameters(network):
        parameter.copy_(torch.stack([weights[name].double() for weights in kept]).mean(0))


def trained_parameters(network: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Return the parameters that training changes, shared ones once."""
    module = getattr(network, "module", network)  # as DistributedDataParallel wraps it
    return [(name, p) for name, p in module.named_parameters() if p.requires_grad]
