"""A Trainer that keeps its weights whole, and the checkpoints that it goes on from."""

import json
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerState, TrainingArguments

from overtone.errors import UserError


class GuardedTrainer(Trainer):
    """A Trainer that takes no step which would spoil the weights, and that decays what it is told to."""

    Arguments: type[TrainingArguments] = TrainingArguments
    undecayed: frozenset[str] | None = None

    def training_step(self, model: torch.nn.Module, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Compute loss and gradient; UserError when one of them is no number."""
        loss = super().training_step(model, *args, **kwargs)
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        if not torch.isfinite(loss + torch.nn.utils.get_total_norm(gradients)):
            raise UserError(self._what_was_lost(loss))
        return loss

    def get_train_dataloader(self) -> DataLoader:
        """Return the batches; those of a training that is counted in steps come made, to each process its own."""
        if self.args.max_steps < 0:
            return super().get_train_dataloader()
        assert self.train_dataset is not None
        workers = self.args.dataloader_num_workers
        return DataLoader(
            self.train_dataset, batch_size=None, num_workers=workers, pin_memory=self.args.dataloader_pin_memory
        )

    def get_decay_parameter_names(self, model: torch.nn.Module) -> list[str]:
        """Return the parameters with weight decay."""
        if self.undecayed is None:
            return super().get_decay_parameter_names(model)
        return [name for name, _ in model.named_parameters() if name not in self.undecayed]

    def _what_was_lost(self, loss: torch.Tensor) -> str:
        what = "gradient" if torch.isfinite(loss) else "loss"
        last = last_checkpoint(Path(str(self.args.output_dir)))
        kept = f"The last good checkpoint is kept: {last!r}." if last else "There was no checkpoint yet."
        return (
            f"The {what} is no number at step {self.state.global_step + 1} of {self.state.max_steps}, with the "
            f"learning rate at {self._get_learning_rate():.1e}. {kept} Start again with a lower learning rate, or "
            "with --precision fp32 where it was another."
        )


def last_checkpoint(out: Path) -> str | None:
    """Return the last checkpoint that was written whole: the Trainer writes its own state last."""
    whole = [path.parent for path in out.glob("checkpoint-*/trainer_state.json") if _is_json(path)]
    return str(max(whole, key=lambda path: int(path.name.split("-")[1]))) if whole else None


def _is_json(path: Path) -> bool:
    """Tell a file that was written to its end from one that was cut short as a process was stopped."""
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True


def state_of(checkpoint: str) -> TrainerState:
    """Return where a training stood, with its log."""
    return TrainerState.load_from_json(str(Path(checkpoint, "trainer_state.json")))
