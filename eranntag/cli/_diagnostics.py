"""Diagnostics of the environment: versions, devices, formats, the cache and the default checkpoint."""

import io
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import soundfile
import torch
from huggingface_hub import constants

import eranntag
from eranntag.audio import reader
from eranntag.checkpoints import catalog, loading
from eranntag.engines import selection
from eranntag.errors import EranntagError
from eranntag.files import cache
from eranntag.inference import devices
from eranntag.inference.tagger import Tagger
from eranntag.types import Clip

FORMATS = (("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"))
EXTRAS = {  # optional packages and their purpose
    "openvino": "faster tagging on a CPU: pip install 'eranntag[openvino]'",
    "av": "m4a, aac, wma, webm and video: pip install 'eranntag[av]'",
    "matplotlib": "figures and pages: pip install 'eranntag[plot]'",
    "tensorboard": "train --tensorboard: pip install tensorboard",
}


@dataclass(frozen=True)
class Finding:
    """`remedy` is what to do about a problem, "" without one; `fatal` if `predict` cannot work with the problem."""

    name: str
    value: str
    remedy: str = ""
    fatal: bool = False


def examine() -> Iterator[Finding]:
    """Yield all findings; no connection is opened."""
    yield Finding("eranntag", f"{eranntag.__version__}, Python {platform.python_version()}, {platform.platform()}")
    yield from _versions()
    yield from _devices()
    yield from _formats()
    for package, purpose in EXTRAS.items():
        yield Finding(package, _version(package) if find_spec(package) else f"not installed; it is for {purpose}")
    yield _cache()
    yield from _checked("checkpoint", _default_checkpoint)
    yield from _checked("engines", _other_engines)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "installed"


def _versions() -> Iterator[Finding]:
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
    series = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    tested = (2, 11) <= series < (2, 15)
    remedy = "" if tested else "tested are 2.11 to 2.14: pip install 'torch>=2.11,<2.15'"
    yield Finding("torch", f"{torch.__version__} ({build})", remedy)
    names = ("numpy", "soundfile", "soxr", "safetensors", "huggingface_hub", "pooch", "click", "rich")
    yield Finding("packages", ", ".join(f"{name} {_version(name)}" for name in names))


def _devices() -> Iterator[Finding]:
    available = [flag for flag in devices.FLAGS if flag in devices.cpu_flags()]
    cores = f"{os.cpu_count()} processors, {torch.get_num_threads()} threads used"
    yield Finding("CPU", f"{cores}; {', '.join(available) or 'no known vector flags'}")
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        yield Finding(f"cuda:{index}", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    if torch.version.cuda and not torch.cuda.is_available() and Path("/proc/driver/nvidia").exists():
        yield Finding("cuda", "a driver is installed, but torch finds no GPU", "compare nvidia-smi's CUDA version with torch's")
    if torch.backends.mps.is_available():
        yield Finding("mps", "available")


def _formats() -> Iterator[Finding]:
    """Write and read every format: which ones libsndfile supports depends on its build."""
    waveform = 0.3 * np.sin(2 * np.pi * 440 * np.arange(48000) / 48000).astype(np.float32)
    good, bad = [], []
    for form, subtype in FORMATS:
        file = io.BytesIO()
        try:
            soundfile.write(file, waveform, 48000, subtype, format=form)
            file.seek(0)
            reader.read(file)
            good.append(subtype if form == "OGG" else form)
        except (soundfile.LibsndfileError, EranntagError, ValueError):
            bad.append(subtype if form == "OGG" else form)
    remedy = f"not {', '.join(bad)}: pip install --upgrade soundfile" if bad else ""
    yield Finding("formats", f"{', '.join(good)} (libsndfile {soundfile.__libsndfile_version__})", remedy, fatal="WAV" in bad)


def _cache() -> Finding:
    folder = cache.folder()
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
    free = shutil.disk_usage(nearest).free
    offline = "; offline (HF_HUB_OFFLINE)" if constants.is_offline_mode() else ""
    remedy = (
        "" if nearest.is_dir() and os.access(nearest, os.W_OK) else "cannot be written: set ERANNTAG_CACHE to another folder"
    )
    return Finding("cache", f"{folder}: {size / 1e6:.1f} MB, {free / 1e9:.1f} GB free{offline}", remedy)


def _default_checkpoint() -> Finding:
    """Verify and load the default checkpoint as `predict` does: its engine, the reason, and its speed."""
    name = catalog.load_catalog().default
    tagger = loading.load(name)
    return Finding("checkpoint", f"{name}: {_speed(tagger)} on {tagger.device}; {'; '.join(tagger.notes)}")


def _other_engines() -> Finding:
    """Measure every installed engine on the CPU."""
    installed = [name for name in selection.ENGINES if name != "openvino" or find_spec("openvino")]
    speeds = [f"{name} {_speed(loading.load(device='cpu', engine=name, dtype='float32'))}" for name in installed]
    return Finding("engines", f"on the CPU in float32: {', '.join(speeds)}")


def _speed(tagger: Tagger) -> str:
    """Return the time for five seconds of noise, the best of three after a warm-up."""
    clip = Clip(0.1 * np.random.default_rng(0).standard_normal((1, 5 * 44100), np.float32), 44100, "noise")
    tagger.tag(clip)
    times = []
    for _ in range(3):
        started = time.perf_counter()
        tagger.tag(clip)
        times.append(time.perf_counter() - started)
    return f"{1000 * min(times):.0f} ms for 5 s"


def _checked(name: str, finding: Callable[[], Finding]) -> Iterator[Finding]:
    try:
        yield finding()
    except Exception as error:  # one broken part does not end the report
        reason = str(error) or type(error).__name__
        yield Finding(name, f"fails: {reason}", "reinstall: pip install --force-reinstall eranntag", fatal=True)
