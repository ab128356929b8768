"""The hardware of this machine. torch is imported only where a GPU may be, as that takes a second."""

import os
import platform
import re
from functools import cache
from pathlib import Path

from eranntag.errors import UsageError

FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_fp16", "amx_int8")  # that fast paths need, as Linux names them
_TRACES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd", "C:/Windows/System32/nvcuda.dll")  # NVIDIA, WSL, ROCm, Windows


def pick(name: str = "auto") -> str:
    """The device "cpu", "cuda", "cuda:1" ... or "mps" for a name or "auto"; UsageError when this machine has none."""
    if re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name) is None:
        raise UsageError(f"device {name!r} is none of auto, cpu, cuda, cuda:1 ..., mps")
    if name == "cpu" or (name == "auto" and not _may_have_gpu()):
        return "cpu"
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return next(device for device, there in available.items() if there)
    if not available[name.partition(":")[0]]:
        there = ", ".join(device for device, is_there in available.items() if is_there)
        raise UsageError(f"device {name!r} is not available here; there is {there}")
    if name.startswith("cuda:") and int(name[5:]) >= torch.cuda.device_count():
        raise UsageError(f"device {name!r} is not available here; there are {torch.cuda.device_count()} GPUs, from cuda:0 on")
    return name


def _may_have_gpu() -> bool:
    return (platform.system(), platform.machine()) == ("Darwin", "arm64") or any(Path(trace).exists() for trace in _TRACES)


def usable_cpus() -> int:
    """The number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def take_share(index: int, shares: int) -> None:
    """Restrict this process to its share of the processors and GPUs, one of `shares`, before any library looks for them."""
    if hasattr(os, "sched_setaffinity"):
        processors = sorted(os.sched_getaffinity(0))
        own = processors[len(processors) * index // shares : len(processors) * (index + 1) // shares]
        os.sched_setaffinity(0, own or [processors[index % len(processors)]])
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(len(list(Path("/dev").glob("nvidia[0-9]*")))))))
    if "," in gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus.split(",")[index % len(gpus.split(","))]


@cache
def cpu_flags() -> frozenset[str]:
    """Instruction sets as Linux names them, such as avx512_bf16 or amx_fp16; empty elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    return frozenset(next((line for line in text.splitlines() if line.startswith("flags")), "").split())


def native_dtype() -> tuple[str, str]:
    """The dtype in which this CPU multiplies matrices fastest without harm, and why."""
    if "amx_fp16" in cpu_flags():
        return "float16", "this CPU has AMX-FP16"
    if "amx_bf16" in cpu_flags():
        return "bfloat16", "this CPU has AMX-BF16"
    return "float32", "this CPU has no AMX"
