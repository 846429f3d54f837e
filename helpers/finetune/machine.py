"""What a run stands on and takes: versions, memory, and where a base was quantised."""

import platform
import sys

import torch

from helpers import environment
from helpers.config import MIB, probe_device
from helpers.models import unquantised


def versions() -> dict[str, str]:
    """{package: version} of Python and of what a run stands on."""
    return {"python": platform.python_version()} | environment.versions()


def peak_memory() -> dict[str, float]:
    """{"peak_rss_mib"} of this process so far, and on a GPU {"peak_gpu_mib"}."""
    if sys.platform == "win32":
        import psutil

        held = psutil.Process().memory_info().peak_wset
    else:
        import resource

        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        held *= 1 if sys.platform == "darwin" else 1024  # Linux counts in KiB
    peaks = {"peak_rss_mib": round(held / MIB, 1)}
    if torch.cuda.is_available():
        peaks["peak_gpu_mib"] = round(torch.cuda.max_memory_allocated() / MIB, 1)
    return peaks


def quantised(model) -> dict[str, str]:
    """Of a 4-bit base: where it was quantised, and what is the same on any device."""
    rest = unquantised(model)
    return {"quantised_on": probe_device().name, "unquantised": rest} if rest else {}
