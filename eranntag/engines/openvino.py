"""OpenVINO: the fastest on most CPUs. Compiled networks are kept, so that a run that finds its own needs no torch."""

import hashlib
import json
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

import eranntag
from eranntag.engines import compile_cache
from eranntag.engines.openvino_tagger import CompiledNetwork, Facts, OpenVINO
from eranntag.engines.selection import VerifiedCheckpoint
from eranntag.inference import devices
from eranntag.inference.network_tagger import NetworkTagger
from eranntag.inference.streaming import Geometry

_PACKAGE = Path(eranntag.__file__).parent
FORMAT = 7  # another number when the parts or the facts of a compiled network change


def build(source: VerifiedCheckpoint, device: str, dtype: str, many: bool) -> NetworkTagger:
    chosen, why = devices.native_dtype() if dtype == "auto" else (dtype, "as asked")
    fall_back = dtype == "auto" and chosen != "float32"
    path = compile_cache.folder() / f"{_key(source, chosen, fall_back)}.ov"
    if (entry := compile_cache.read(path, ("network", "head"))) is not None:
        try:
            facts = Facts(**{**entry.facts, "geometry": Geometry(**entry.facts["geometry"])})
            return OpenVINO(source, CompiledNetwork(facts, **entry.parts), many, (why, "compiled before"), path)
        except (RuntimeError, TypeError, LookupError):  # what another OpenVINO or CPU wrote is compiled again
            pass
    from eranntag.engines.openvino_compile import compile_network  # needs torch

    compiled = compile_network(source, chosen, fall_back)
    error = compile_cache.write(path, asdict(compiled.facts), compiled.parts())
    how = f"compiled now, not kept ({error})" if error else "compiled now and kept"
    return OpenVINO(source, compiled, many, (why, how), path)


def _key(source: VerifiedCheckpoint, dtype: str, fall_back: bool) -> str:
    """The name of everything that a compiled network depends on: also the code, which may change between versions."""
    spec, versions = asdict(source.checkpoint), (FORMAT, eranntag.__version__, metadata.version("openvino"))
    files = (path for folder in ("models", "features") for path in sorted((_PACKAGE / folder).glob("*.py")))
    code = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    facts = [source.sha256, spec, dtype, fall_back, versions, sorted(devices.cpu_flags()), code]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:40]
