"""Filter banks, windows and transforms as pure numpy functions in float64, each with its source."""

import numpy as np
from numpy.typing import ArrayLike

# Slaney's Auditory Toolbox (1998), as in librosa: linear with 200/3 Hz a mel below 1 kHz, 27 mels a factor of 6.4 above.
_HZ_PER_MEL = 200 / 3
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27


def hz_to_mel(hz: ArrayLike, scale: str = "slaney") -> np.ndarray:
    """Convert frequency in Hz to mel. `scale`: "slaney", or "htk" for 2595 log10(1 + f / 700); ValueError for others."""
    if scale not in ("slaney", "htk"):
        raise ValueError(f"the mel scale must be slaney or htk, not {scale!r}")
    hz = np.asarray(hz, dtype=np.float64)
    if scale == "htk":
        return 2595 * np.log10(1 + hz / 700)
    return np.where(hz < _BREAK_HZ, hz / _HZ_PER_MEL, _BREAK_MEL + np.log(np.maximum(hz, 1e-9) / _BREAK_HZ) / _LOG_STEP)


def mel_to_hz(mel: ArrayLike, scale: str = "slaney") -> np.ndarray:
    """Convert mel to frequency in Hz, the inverse of `hz_to_mel`."""
    mel = np.asarray(mel, dtype=np.float64)
    if scale == "htk":
        return 700 * (10 ** (mel / 2595) - 1)
    return np.where(mel < _BREAK_MEL, mel * _HZ_PER_MEL, _BREAK_HZ * np.exp(_LOG_STEP * (mel - _BREAK_MEL)))


def mel_edges(n_mels: int, fmin_hz: float, fmax_hz: float, scale: str = "slaney") -> np.ndarray:
    """Return the n_mels + 2 band edges in Hz, equally spaced in mel; entries 1..n_mels are the centers."""
    low, high = hz_to_mel([fmin_hz, fmax_hz], scale)
    return mel_to_hz(np.linspace(low, high, n_mels + 2), scale)


def mel_filterbank(
    sample_rate_hz: int, n_fft: int, n_mels: int, fmin_hz: float, fmax_hz: float, scale: str = "slaney"
) -> np.ndarray:
    """Return triangles of equal area (Slaney normalization, 2 / bandwidth): (n_mels, n_fft // 2 + 1).

    Triangle k rises from edge k to edge k+1 and falls to edge k+2, so at frequency f it is
    min((f - e_k) / (e_k+1 - e_k), (e_k+2 - f) / (e_k+2 - e_k+1)), not below zero.
    """
    edges = mel_edges(n_mels, fmin_hz, fmax_hz, scale)[:, None]  # (n_mels + 2, 1)
    hz = np.arange(n_fft // 2 + 1) * sample_rate_hz / n_fft  # (bins,)
    rising = (hz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hz) / (edges[2:] - edges[1:-1])
    triangles: np.ndarray = np.maximum(0, np.minimum(rising, falling)) * 2 / (edges[2:] - edges[:-2])
    return triangles


def hann(samples: int) -> np.ndarray:
    """Return the periodic Hann window (samples,)."""
    window: np.ndarray = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(samples) / samples)
    return window


def dct_matrix(coefficients: int, size: int) -> np.ndarray:
    """Return the first rows k of the orthonormal DCT-II: (coefficients, size), sqrt(2 / size) cos(pi k (n + 1/2) / size).

    Row 0 is divided by sqrt(2), so that it has the norm of the others.
    """
    k, n = np.arange(coefficients)[:, None], np.arange(size)
    matrix: np.ndarray = np.sqrt(2 / size) * np.cos(np.pi * k * (n + 0.5) / size)
    matrix[0] /= np.sqrt(2)
    return matrix


def erb_hz(hz: ArrayLike) -> np.ndarray:
    """Return the equivalent rectangular bandwidth in Hz at a frequency: Glasberg & Moore (1990), eq. (3)."""
    bandwidth: np.ndarray = 24.7 * (1 + 4.37e-3 * np.asarray(hz, dtype=np.float64))
    return bandwidth


def erb_centers(count: int, fmin_hz: float, fmax_hz: float) -> np.ndarray:
    """Return (count,) frequencies in Hz, fmin_hz to fmax_hz, equally spaced in ERBs: 21.4 log10(1 + 0.00437 f), eq. (4)."""
    low, high = np.log10(1 + 4.37e-3 * np.array([fmin_hz, fmax_hz]))
    centers: np.ndarray = (10 ** np.linspace(low, high, count) - 1) / 4.37e-3
    return centers


def gammatone_filterbank(sample_rate_hz: int, n_fft: int, count: int, fmin_hz: float, fmax_hz: float) -> np.ndarray:
    """Return power responses |H|^2 of fourth-order gammatone filters, 1 at their centers: (count, n_fft // 2 + 1).

    The impulse response t^3 exp(-2 pi b t) cos(2 pi f_c t) with b = 1.019 ERB(f_c) (Slaney, Apple Technical Report 35, 1993)
    has the transform (1 + j (f - f_c) / b)^-4 + (1 + j (f + f_c) / b)^-4, where the second term matters only as f_c nears b.
    """
    centers = erb_centers(count, fmin_hz, fmax_hz)[:, None]
    bandwidths = 1.019 * erb_hz(centers)
    hz = np.arange(n_fft // 2 + 1) * sample_rate_hz / n_fft
    response = (1 + 1j * (hz - centers) / bandwidths) ** -4 + (1 + 1j * (hz + centers) / bandwidths) ** -4
    power: np.ndarray = np.abs(response) ** 2
    return power


def chroma_filterbank(sample_rate_hz: int, n_fft: int) -> np.ndarray:
    """Return the weights of a power spectrum's bins for the pitch classes C, C#, ... B: (12, n_fft // 2 + 1).

    Ellis, "Chroma feature analysis and synthesis" (2007), with the values of librosa.filters.chroma at A4 = 440 Hz: a Gaussian
    over the distance between bin and class, its sigma half a semitone or half the bin's width, whichever is more; each bin's
    twelve weights have the 2-norm exp(-(o - 5)^2 / 8), where o is the bin's octave above 27.5 Hz: most at 880 Hz.
    """
    hz = np.arange(1, n_fft // 2 + 2) * sample_rate_hz / n_fft
    semitones = 12 * np.log2(hz / 27.5)  # above A0
    semitones = np.concatenate([[semitones[0] - 18], semitones])  # 0 Hz has no pitch: half an octave from bin 1's, and broad
    widths = np.maximum(np.diff(semitones), 1)  # (bins,)
    semitones = semitones[:-1]
    distance = (semitones - np.arange(3, 15)[:, None] + 6) % 12 - 6  # row 0 is C, three semitones above A
    weights = np.exp(-0.5 * (2 * distance / widths) ** 2)
    weights /= np.linalg.norm(weights, axis=0)
    weighted: np.ndarray = weights * np.exp(-0.5 * ((semitones / 12 - 5) / 2) ** 2)
    return weighted


def constant_q_factor(bins_per_octave: int) -> float:
    """Return the quality factor of adjacent filters, as librosa >= 0.10: (r^2 + 1) / (r^2 - 1), r = 2^(1 / bins)."""
    step = 2 ** (2 / bins_per_octave)
    return (step + 1) / (step - 1)


def constant_q_kernels(hz: np.ndarray, q: float, sample_rate_hz: int, samples: int) -> np.ndarray:
    """Return complex kernels (len(hz), samples), centered on sample samples // 2: sum_n x[n] conj(kernel[n]) is the transform.

    Brown, "Calculation of a constant Q spectral transform" (1991), with the window and the scale of `librosa.cqt`: a tone of
    frequency f under a Hann window of length L = q * rate / f, whose sum is 1, times sqrt(L) (so that white noise is equally
    loud in all rows). As the window sums to L / 2: kernel[n] = 2 / sqrt(L) cos^2(pi n / L) exp(2 pi i f n / rate), |n| < L / 2.
    """
    hz = np.asarray(hz, dtype=np.float64)[:, None]  # (kernels, 1)
    lengths = q * sample_rate_hz / hz
    if lengths.max() > samples - 1:
        raise ValueError(f"a constant-Q kernel of {lengths.max():.1f} samples does not fit {samples}")
    n = np.arange(samples) - samples // 2
    windows = np.where(np.abs(n) < lengths / 2, np.cos(np.pi * n / lengths) ** 2, 0)
    kernels: np.ndarray = 2 / np.sqrt(lengths) * windows * np.exp(2j * np.pi * hz / sample_rate_hz * n)
    return kernels


def kaldi_filterbank(sample_rate_hz: int, n_fft: int, n_mels: int, fmin_hz: float, fmax_hz: float) -> np.ndarray:
    """Return triangles of height 1 on the mel axis (HTK's scale), as Kaldi's feat/mel-computations: (n_mels, n_fft // 2 + 1).

    Edges are equally spaced in mel, and the flanks are straight there, not in Hz. A triangle narrower than a bin may be empty.
    """
    low, high = hz_to_mel([fmin_hz, fmax_hz], "htk")
    edges = np.linspace(low, high, n_mels + 2)[:, None]  # (n_mels + 2, 1)
    mels = hz_to_mel(np.arange(n_fft // 2 + 1) * sample_rate_hz / n_fft, "htk")  # (bins,)
    rising = (mels - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - mels) / (edges[2:] - edges[1:-1])
    triangles: np.ndarray = np.maximum(0, np.minimum(rising, falling))
    return triangles


def raised_cosine(samples: int, mean: float) -> np.ndarray:
    """Return a symmetric window (samples,): mean - (1 - mean) cos(2 pi n / (samples - 1)). Mean 0.5: Hann; 0.54: Hamming."""
    window: np.ndarray = mean - (1 - mean) * np.cos(2 * np.pi * np.arange(samples) / (samples - 1))
    return window
