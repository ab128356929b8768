"""The machine of a benchmark."""

import os
import platform
import re
import time
from importlib import metadata
from pathlib import Path

import torch

import eranntag
from eranntag.inference import devices


def describe(device: str) -> dict[str, str]:
    """Return hardware, versions and the date by name; `device` is a name of torch's."""
    names = ("torch", "openvino", "numpy")
    versions = [f"{name} {metadata.version(name)}" for name in names if _installed(name)]
    return {
        "CPU": f"{_cpu()}, {devices.usable_cpus()} of {os.cpu_count()} processors, {torch.get_num_threads()} threads of torch",
        "CPU flags": ", ".join(flag for flag in devices.FLAGS if flag in devices.cpu_flags()) or "unknown",
        "GPU": torch.cuda.get_device_name(device) if device.startswith("cuda") else "none used",
        "system": f"{platform.system()} {platform.machine()}",
        "versions": ", ".join((f"eranntag {eranntag.__version__}", *versions, f"Python {platform.python_version()}")),
        "date": time.strftime("%Y-%m-%d"),
    }


def _cpu() -> str:
    try:
        names = re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
