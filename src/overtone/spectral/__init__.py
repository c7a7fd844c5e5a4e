"""The ground: mathematics on tensors. Imports torch alone."""

from overtone.spectral.images import amplitude_mix, amplitude_only, amplitude_phase, phase_only, swap_low_amplitude

__all__ = ["amplitude_mix", "amplitude_only", "amplitude_phase", "phase_only", "swap_low_amplitude"]
