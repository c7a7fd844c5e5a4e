"""What a user asks for: one verb a file, a config beside the function that takes it.

Heavy rooms load when a verb runs.
"""

from overtone.tasks.adapt import AdaptConfig, AdaptResult, adapt
from overtone.tasks.bench import BenchConfig, bench
from overtone.tasks.evaluate import EvaluateConfig, evaluate
from overtone.tasks.predict import PredictConfig, Prediction, predict
from overtone.tasks.train import TrainConfig, TrainResult, train

__all__ = [
    "AdaptConfig",
    "AdaptResult",
    "BenchConfig",
    "EvaluateConfig",
    "PredictConfig",
    "Prediction",
    "TrainConfig",
    "TrainResult",
    "adapt",
    "bench",
    "evaluate",
    "predict",
    "train",
]
