"""Tangent kernels: what a network learns first, and which bandwidth suits a signal."""

from overtone.ntk.bandwidth import BANDWIDTH_METHODS, Bandwidth, select_bandwidth
from overtone.ntk.components import Learning, learn_components
from overtone.ntk.dynamics import leave_one_out, predict, regress, spectrum
from overtone.ntk.finite import empirical, product
from overtone.ntk.infinite import analytic, relu_kernels
from overtone.ntk.networks import NtkLinear, relu_network
from overtone.ntk.periodic import periodic_predict, periodic_spectrum

__all__ = [
    "BANDWIDTH_METHODS",
    "Bandwidth",
    "Learning",
    "NtkLinear",
    "analytic",
    "empirical",
    "learn_components",
    "leave_one_out",
    "periodic_predict",
    "periodic_spectrum",
    "predict",
    "product",
    "regress",
    "relu_kernels",
    "relu_network",
    "select_bandwidth",
    "spectrum",
]
