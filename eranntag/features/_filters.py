"""Filter banks as pure numpy functions in float64, each with its source."""

import numpy as np

# Slaney's Auditory Toolbox (1998), as in librosa: linear with 200/3 Hz a mel below 1 kHz, 27 mels a factor of 6.4 above.
_HZ_PER_MEL = 200 / 3
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27


def hz_to_mel(hz: np.ndarray | float, scale: str = "slaney") -> np.ndarray:
    """Frequency in Hz to mel. `scale`: "slaney", or "htk" for 2595 log10(1 + f / 700)."""
    hz = np.asarray(hz, dtype=np.float64)
    if scale == "htk":
        return 2595 * np.log10(1 + hz / 700)
    return np.where(hz < _BREAK_HZ, hz / _HZ_PER_MEL, _BREAK_MEL + np.log(np.maximum(hz, 1e-9) / _BREAK_HZ) / _LOG_STEP)


def mel_to_hz(mel: np.ndarray | float, scale: str = "slaney") -> np.ndarray:
    """The inverse of `hz_to_mel`."""
    mel = np.asarray(mel, dtype=np.float64)
    if scale == "htk":
        return 700 * (10 ** (mel / 2595) - 1)
    return np.where(mel < _BREAK_MEL, mel * _HZ_PER_MEL, _BREAK_HZ * np.exp(_LOG_STEP * (mel - _BREAK_MEL)))


def mel_edges(n_mels: int, fmin_hz: float, fmax_hz: float, scale: str = "slaney") -> np.ndarray:
    """The n_mels + 2 band edges in Hz, equally spaced in mel; entries 1..n_mels are the centres."""
    low, high = hz_to_mel([fmin_hz, fmax_hz], scale)
    return mel_to_hz(np.linspace(low, high, n_mels + 2), scale)


def mel_filterbank(
    sample_rate_hz: int, n_fft: int, n_mels: int, fmin_hz: float, fmax_hz: float, scale: str = "slaney"
) -> np.ndarray:
    """Triangles of equal area (Slaney normalisation, 2 / bandwidth): (n_mels, n_fft // 2 + 1).

    Triangle k rises from edge k to edge k+1 and falls to edge k+2, so at frequency f it is
    min((f - e_k) / (e_k+1 - e_k), (e_k+2 - f) / (e_k+2 - e_k+1)), not below zero.
    """
    edges = mel_edges(n_mels, fmin_hz, fmax_hz, scale)[:, None]  # (n_mels + 2, 1)
    hz = np.arange(n_fft // 2 + 1) * sample_rate_hz / n_fft  # (bins,)
    rising = (hz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hz) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(0, np.minimum(rising, falling))
    return triangles * 2 / (edges[2:] - edges[:-2])
