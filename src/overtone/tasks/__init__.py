"""What a user asks for: one verb a file, a config beside the function that takes it.

Heavy rooms load when a verb runs.
"""

from overtone.tasks.adapt import AdaptConfig, AdaptResult, adapt
from overtone.tasks.bench import BenchConfig, bench
from overtone.tasks.doctor import DoctorConfig, DoctorResult, doctor
from overtone.tasks.evaluate import EvaluateConfig, evaluate
from overtone.tasks.fit import FitConfig, FitResult, fit
from overtone.tasks.inspect import InspectConfig, InspectResult, inspect
from overtone.tasks.predict import PredictConfig, Prediction, predict
from overtone.tasks.pretrain import PretrainConfig, PretrainResult, pretrain
from overtone.tasks.protocols import ProtocolConfig, ProtocolResult, evaluate_protocol
from overtone.tasks.train import TrainConfig, TrainResult, train

__all__ = [
    "AdaptConfig",
    "AdaptResult",
    "BenchConfig",
    "DoctorConfig",
    "DoctorResult",
    "EvaluateConfig",
    "FitConfig",
    "FitResult",
    "InspectConfig",
    "InspectResult",
    "PredictConfig",
    "Prediction",
    "PretrainConfig",
    "PretrainResult",
    "ProtocolConfig",
    "ProtocolResult",
    "TrainConfig",
    "TrainResult",
    "adapt",
    "bench",
    "doctor",
    "evaluate",
    "evaluate_protocol",
    "fit",
    "inspect",
    "predict",
    "pretrain",
    "train",
]
