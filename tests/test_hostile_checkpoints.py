"""Weight files, registries and published weights that mean harm: no code runs, one line, in bounded time and memory."""

import dataclasses
import io
import json
import os
import pickle
import resource
import string
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, example, given, settings, strategies as st

from eranntag.checkpoints import catalog, convert, header, hub, rows, weights
from eranntag.checkpoints.digest import file_sha256
from eranntag.cli import cli
from eranntag.errors import CheckpointError, EranntagError, UsageError
from eranntag.features import logmel
from eranntag.inference.network import Network
from eranntag.types import Checkpoint

SPEC = Checkpoint(
    name="tiny",
    family="apae",
    model={"pooling": "mean"},
    frontend_family="logmel",
    frontend=dataclasses.asdict(logmel.Config()),
    labels=("dog", "rain"),
    activation="sigmoid",
)
SECONDS = 3.0  # for any refusal, on a machine that is busy
FUZZ = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A good weight file."""
    path = tmp_path_factory.mktemp("good") / "tiny.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        weights.save(Network(SPEC), path)
    return path.read_bytes()


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """What hostile code would make."""
    return tmp_path / "canary"


def taken_apart(content: bytes) -> tuple[dict[str, Any], bytes]:
    """The header's JSON, the tensors."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def put_together(parsed: Any, data: bytes = b"") -> bytes:
    text = parsed if isinstance(parsed, bytes) else json.dumps(parsed).encode()
    return len(text).to_bytes(8, "little") + text + data


def respelled(content: bytes, change: Callable[[dict[str, Any]], Any]) -> bytes:
    """With a spec that was changed; the tensors and their digest as they were."""
    parsed, data = taken_apart(content)
    spec = json.loads(parsed["__metadata__"][header.KEY])
    spec = spec if (changed := change(spec)) is None else changed
    parsed["__metadata__"][header.KEY] = spec if isinstance(spec, str) else json.dumps(spec)
    return put_together(parsed, data)


@contextmanager
def little_memory() -> Iterator[None]:
    """2 GB more than now; beyond that an allocation fails."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + (2 << 30), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def refusal(path: Path, limited: bool = True) -> str:
    """Why `path` is not loaded: soon, one line that names it, and not for lack of memory."""
    start = time.monotonic()
    with little_memory() if limited else nullcontext(), pytest.raises(CheckpointError) as caught:
        weights.load(path)
    assert time.monotonic() - start < SECONDS
    line = str(caught.value)
    assert line.startswith(f"{path}: ") and len(line.splitlines()) == 1 and len(line) < 1200 and "; " in line
    assert "allocate" not in line or not limited
    return line


def run(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args])


def check_one_line(result: Result, code: int = 1) -> str:
    assert result.exit_code == code and result.stdout == "", result.output
    assert result.stderr.count("\n") == 1 and result.stderr.startswith("eranntag: error: "), result.stderr
    assert "Traceback" not in result.stderr and "--debug" not in result.stderr and len(result.stderr) < 1500
    return result.stderr


# The spec


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


FIELDS = [
    {"name": value}
    for value in (
        None, 3, "", "x" * 201, "a\nb", "a/b", "../a", "..", "a\\b", "\x1b[2J", "a\x00", "\u202ea", "-a", "hf:a"
    )
] + [
    {"labels": value}
    for value in (
        None, 3, "dog", [], [1, 2], ["a", "a"], [["a"], "b"], [None, "a"], ["a", "\ud800"], {"a": 1},
        list(map(str, range(100_001))),
    )
] + [
    {"thresholds": value}
    for value in (3, [0.5], [0.5] * 3, ["a", "b"], [0.5, float("nan")], [0.5, float("inf")], [True, False], None)
] + [
    {"family": value} for value in (None, "", "resnet", "../x", "_layers", "x" * 10**6, ["erann"], "erann\n")
] + [
    {"frontend_family": value} for value in (None, "", "../logmel", "_logmel_numpy", "x" * 10**6)
] + [
    {"activation": value} for value in (None, "relu", "softmax\n", ["softmax"], {})
] + [
    {"model": value}
    for value in (
        None, [], 3, {"pooling": None}, {"pooling": "x" * 10**6}, {"pooling": ["mean"]}, {"frames": 2**31},
        {"pooling": "two-step", "frames": 2**31},
        {"pooling": "two-step", "frames": 2**62}, {"pooling": "two-step", "frames": 2**70},
        {"pooling": "two-step", "frames": 1e9},
        {"pooling": "two-step", "frames": True}, {"pooling": "two-step", "frames": -1}, {"unknown": 1}, {"x" * 10**6: 1},
        {"gwrp_decay": float("nan")},
    )
] + [
    {"family": "erann", "model": {"s_m": 2, "width": width}} for width in (2**31, 2**20, 2**62, -1, 0, 1.0, True, "1", 10**9)
] + [
    {"family": "cnn14", "model": {"channels": channels}} for channels in (2**31, 10**9, 2**55, 0, -5)
] + [
    {"title": 3}, {"licence": None}, {"licence": ["MIT"]}, {"data": {}}, {"source": True}, {"metrics": []},
    {"training": 3}, {"extra": 1},
    {"metrics": nested(20)}, {"metrics": {"a": nested(20)}}, {"metrics": {"a": 10**30}}, {"training": {"bases": 3}},
    {"training": {"bases": [3]}},
    {"title": "\udcff"}, {"tensors_sha256": None}, {"tensors_sha256": "0" * 64}, {"tensors_sha256": "x"},
]  # fmt: skip
NUMBERS = (0, -1, 2**17 + 2, 10**9, 2**31, 2**62, 0.5, 1e308, True, None, "1", [1], float("nan"), float("inf"))
ODD_FRONT_ENDS = [
    (name, number)
    for name in ("sample_rate_hz", "hop_samples", "frames_per_second", "window_samples", "n_mels")
    for number in NUMBERS
] + [
    ("fmin_hz", -1.0), ("fmin_hz", 1e308), ("fmax_hz", 1e308), ("min_seconds", 10**9), ("min_seconds", -1),
    ("mel_scale", "bark"), ("unknown", 1),
]  # fmt: skip


@pytest.mark.parametrize("fields", FIELDS, ids=lambda fields: repr(fields)[:60])
def test_a_field_that_is_wrong(fields: dict[str, Any], content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(respelled(content, lambda spec: spec.update(fields)))
    refusal(path)


@pytest.mark.parametrize("field", [*(field.name for field in dataclasses.fields(Checkpoint)[:7]), "tensors_sha256"])
def test_a_field_that_is_missing(field: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(respelled(content, lambda spec: spec.pop(field) and None))
    assert field in refusal(path)


def test_a_front_end_that_is_too_large_or_no_number(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for name, number in ODD_FRONT_ENDS:
        front = {**SPEC.frontend, name: number}
        path.write_bytes(respelled(content, lambda spec, front=front: spec.update(frontend=front)))
        refusal(path)


@pytest.mark.parametrize(
    ("family", "arguments"),
    [
        ("cqt", {"fmin_hz": 1e-9}), ("cqt", {"fmin_hz": 5e-324}), ("cqt", {"bins_per_octave": 4096, "n_bins": 4096}),
        ("cqt", {"n_bins": 10**9}), ("cqt", {"fmin_hz": float("nan")}), ("tempogram", {"lags": 4096}),
        ("tempogram", {"lags": 10**9}),
        ("mfcc", {"n_mels": 4096, "n_mfcc": 1, "window_samples": 1 << 17}), ("mfcc", {"n_mels": 10**9, "n_mfcc": 1}),
        ("gfcc", {"n_filters": 4096, "n_gfcc": 1, "window_samples": 1 << 16}), ("chroma", {"window_samples": 10**12}),
        ("fbank", {"n_fft": 2**40}), ("fbank", {"n_mels": 4096, "n_fft": 1 << 17}), ("melmag", {"frame_samples": 10**10}),
        ("wavegram", {"n_channels": 2**40}), ("wavegram", {"n_channels": 4096}),
        ("wavegram", {"hop_samples": 1, "frames_per_second": 4096}),
        ("logmel", {"hop_samples": 1, "frames_per_second": 44100}),
        ("logmel", {"hop_samples": 44100, "frames_per_second": 4096}),
    ],
    ids=repr,
)  # fmt: skip
def test_front_ends_that_would_take_terabytes(family: str, arguments: dict[str, Any], content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(respelled(content, lambda spec: spec.update(frontend_family=family, frontend=arguments)))
    assert "impossible configuration" in (line := refusal(path)) or "cannot be nan" in line


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 200_000, '{"a":' * 100_000, "[]", "null", '{"name": "a", "name": "b"}', "1" * 10**6]
)
def test_a_spec_that_is_none(text: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(respelled(content, lambda _: text))
    refusal(path)


# The header


def one(dtype: str = "F32", shape: Any = (2,), offsets: Any = (0, 8), **more: Any) -> dict[str, Any]:
    return {"x": {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}}


@pytest.mark.parametrize(
    "forged",
    [
        b"", b"\x00", b"\xff" * 8, (2**63).to_bytes(8, "little"), (100 << 20).to_bytes(8, "little") + b"{",
        put_together(b""), put_together(b"{"), put_together(b"[]"), put_together(b"null"), put_together(b"\xff\xfe{}"),
        put_together(b"[" * 500_000), put_together(b'{"a":' * 100_000), put_together(b"{}" + b" " * (5 << 20)),
        put_together(b'{"a": ' + b"1" * 10**6 + b"}"), put_together({"x": 3}), put_together({"x": {}}),
        put_together({"x": [[]]}),
        put_together(one(), bytes(8)), put_together(one(), bytes(7)), put_together(one(), bytes(9)),
        put_together(one(dtype="F99"), bytes(8)),
        put_together(one(dtype=None), bytes(8)), put_together(one(shape=[-2]), bytes(8)),
        put_together(one(shape=[2**62, 4]), bytes(8)),
        put_together(one(shape=[True, 2]), bytes(8)), put_together(one(shape=[2.0]), bytes(8)),
        put_together(one(shape=3), bytes(8)),
        put_together(one(offsets=[8, 0]), bytes(8)), put_together(one(offsets=[0, 2**63]), bytes(8)),
        put_together(one(offsets=[-8, 0]), bytes(8)),
        put_together({**one(), "y": one()["x"]}, bytes(8)), put_together({"__metadata__": 3, **one()}, bytes(8)),
        put_together({"__metadata__": {header.KEY: 3}, **one()}, bytes(8)),
        put_together({"__metadata__": {header.KEY: None}}, b""),
        put_together(b'{"__metadata__":{},"__metadata__":{}}'), put_together({"__metadata__": {header.KEY: "{}"}}),
        put_together({f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(5_000)}),
    ],
    ids=lambda forged: f"{forged[:40]!r} of {len(forged)}",
)  # fmt: skip
def test_a_header_that_is_forged(forged: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(forged)
    refusal(path)
    with pytest.raises(CheckpointError):
        header.read_checkpoint(path)


def test_tensors_of_other_kinds_are_refused(content: bytes, tmp_path: Path) -> None:
    """Also where a cast would do, with a digest that is right."""
    from safetensors.torch import load, save_file

    path, tensors = tmp_path / "x.safetensors", load(content)
    spec = json.loads(taken_apart(content)[0]["__metadata__"][header.KEY])
    name = "head.classes.bias"
    for odd in (
        tensors[name].double(), tensors[name].long(), tensors[name].bool(), tensors[name][:0], tensors[name][None].clone(),
        torch.full_like(tensors[name], torch.nan), torch.full_like(tensors[name], -torch.inf),
    ):  # fmt: skip
        forged = {**tensors, name: odd}
        save_file(forged, path, metadata={header.KEY: json.dumps({**spec, "tensors_sha256": weights.tensors_sha256(forged)})})
        assert name in refusal(path)
    variance = next(name for name in tensors if name.endswith("running_var"))
    forged = {**tensors, variance: -torch.ones_like(tensors[variance])}
    save_file(forged, path, metadata={header.KEY: json.dumps({**spec, "tensors_sha256": weights.tensors_sha256(forged)})})
    assert "below zero" in refusal(path)


# What is no file


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "empty").touch()
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(10 * 10**12)
    names = ["fifo", "broken", "loop", "empty", "sparse", "x" * 300, "folder"]
    (tmp_path / "folder").mkdir()
    for path in [*(str(tmp_path / name) for name in names), "/dev/zero", "/dev/tty", "/dev/null", "/proc/self/mem"]:
        assert check_one_line(run("predict", "-c", path, "x.wav"))
        check_one_line(run("checkpoints", "show", path))
        if not path.endswith("empty"):
            check_one_line(run("checkpoints", "list", "--registry", path))
        check_one_line(run("checkpoints", "convert", path, "--model", "cnn14", "-o", tmp_path / "o.safetensors"))
    assert not (tmp_path / "o.safetensors").exists()


def test_a_sparse_file_with_a_header_that_claims_it_all(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    spec = taken_apart(content)[0]["__metadata__"]
    for size in (10 * 10**12, 2 * 10**9):
        path.write_bytes(put_together({"__metadata__": spec, **one(shape=[size // 4], offsets=[0, size])}))
        with open(path, "r+b") as file:
            file.truncate(path.stat().st_size + size)
        refusal(path, limited=False)  # mapping it takes no memory, but counts


@pytest.mark.skipif(os.getuid() == 0, reason="root reads anything")
def test_what_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.touch(mode=0)
    assert "Permission denied" in refusal(path)


# Code


class Hostile:
    def __init__(self, canary: Path) -> None:
        self.canary = str(canary)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.canary,)


def archived(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, content)
    return file.getvalue()


def saved(value: Any, zipped: bool) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def numpy_saved(value: Any, several: bool) -> bytes:
    file = io.BytesIO()
    (np.savez if several else np.save)(file, np.array([value], object))
    return file.getvalue()


CARRIERS: dict[str, Callable[[Any], bytes]] = {
    **{f"pickle {protocol}": lambda value, protocol=protocol: pickle.dumps(value, protocol) for protocol in range(6)},
    "torch.save": lambda value: saved(value, True),
    "torch.save, older": lambda value: saved(value, False),
    "torch.save of weights": lambda value: saved({"model": {"fc1.bias": torch.ones(1), "x": [value]}}, True),
    "zip": lambda value: archived("archive/data.pkl", pickle.dumps(value)),
    "npz": lambda value: numpy_saved(value, True),
    "npy": lambda value: numpy_saved(value, False),
}


@pytest.mark.parametrize("carrier", CARRIERS)
def test_no_name_makes_a_pickle_run(carrier: str, canary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    harm = CARRIERS[carrier](Hostile(canary))
    for name in ("x.safetensors", "x.pt", "x.pth", "x.bin", "x.zip", "x.npz", "x.pkl", "x", "state.safetensors", "x.ckpt"):
        path = tmp_path / name
        path.write_bytes(harm)
        (tmp_path / "own.toml").write_text(
            f'[checkpoints.m]\ntitle = "T"\narchitecture = "e"\nclasses = 2\nweights = "{name}"\n'
        )
        for line in (
            ["predict", "-c", path, "x.wav"],
            ["predict", "-c", name, "x.wav"],
            ["predict", "-c", "m", "--registry", "own.toml", "x.wav"],
            ["checkpoints", "verify", path],
            ["checkpoints", "row", path],
        ):
            assert "not a safetensors file" in check_one_line(run(*line))
        assert not canary.exists()
    check_one_line(run("checkpoints", "convert", tmp_path / "x", "--model", "cnn14", "-o", tmp_path / "o.safetensors"))
    assert not canary.exists() and not (tmp_path / "o.safetensors").exists()


def test_what_could_be_weights_says_how_to_convert_them(canary: Path, tmp_path: Path) -> None:
    for carrier in ("torch.save", "torch.save, older"):
        (tmp_path / "x.pth").write_bytes(CARRIERS[carrier](Hostile(canary)))
        line = check_one_line(run("predict", "-c", tmp_path / "x.pth", "x.wav"))
        assert "may hold code" in line and "eranntag checkpoints convert" in line


def test_the_carriers_carry(canary: Path) -> None:
    """Or the tests above would show nothing."""
    for name, carrier in CARRIERS.items():
        harm = io.BytesIO(carrier(Hostile(canary)))
        if name.startswith("pickle"):
            pickle.load(harm)
        elif name.startswith("torch"):
            torch.load(harm, weights_only=False)
        elif name == "zip":
            pickle.loads(zipfile.ZipFile(harm).read("archive/data.pkl"))
        else:
            read = np.load(harm, allow_pickle=True)
            _ = read["arr_0"] if name == "npz" else read
        canary.rmdir()


# Bombs for the converter


def refused(path: Path) -> str:
    """Why `path` is not converted."""
    output, start = path.with_name("o.safetensors"), time.monotonic()
    with little_memory():
        line = check_one_line(run("checkpoints", "convert", path, "--model", "cnn14", "-o", output))
    assert time.monotonic() - start < SECONDS and not output.exists()
    return line


def test_bombs_are_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    good = saved({"model": {}}, True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:  # 64 MB of 64 kB
        archive.writestr("archive/data.pkl", pickle.dumps(bytes(64 << 20)))
        archive.writestr("archive/version", "3\n")
    assert "not compressed" in refused(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(bytes(5 << 20)))
    assert "no tensors" in refused(path)
    claimed = good.replace((0).to_bytes(4, "little"), (2**32 - 2).to_bytes(4, "little"))
    path.write_bytes(claimed)
    refused(path)
    for kept in range(0, len(good), 97):
        path.write_bytes(good[:kept])
        refused(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_larger_than_their_storage_are_not_unfolded(zipped: bool, tmp_path: Path) -> None:
    """An exabyte of a single number, by its strides."""
    path = tmp_path / "x.pth"
    huge = torch.zeros(1).as_strided((2**30, 2**30), (0, 0))
    network = convert.PUBLISHED["cnn14"]
    names = [network.source_name(name) for name in Network(tiny_cnn14()).model.state_dict()]
    path.write_bytes(saved({"model": dict.fromkeys(names, huge)}, zipped))
    assert "has shape (1073741824, 1073741824)" in refused(path)
    path.write_bytes(
        saved({"model": {**dict.fromkeys(names, huge), "spectrogram_extractor.stft.conv_real.weight": huge}}, zipped)
    )
    assert "belongs to another front-end" in refused(path)
    path.write_bytes(saved({"model": {("a",): huge, 3: huge}}, zipped))
    refused(path)


def keyed(tuples: bytes) -> bytes:
    """A pickle of a dictionary whose key is made of the number one by opcodes."""
    return b"\x80\x02}K\x01" + tuples + b"K\x02s."


TUPLES = {
    "of two, of the same": b"".join(b"q%ch%c\x86" % (at, at) for at in range(60)),
    "within each other": b"\x85" * 3_000_000,
    "wide": b"(" + b"K\x01" * 1001 + b"t",
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kind", TUPLES)
def test_a_key_that_could_not_be_hashed(kind: str, zipped: bool, tmp_path: Path) -> None:
    """In the age of the universe, or without a crash."""
    path, pickled = tmp_path / "x.pth", keyed(TUPLES[kind])
    path.write_bytes(archived("archive/data.pkl", pickled) if zipped else pickled)
    assert "a tuple of more than 1000 values" in refused(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_what_torch_would_make_of_a_name(zipped: bool, tmp_path: Path) -> None:
    """Nothing of it runs code, but a bytearray may fill the memory."""
    path = tmp_path / "x.pth"
    pickled = b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R."
    path.write_bytes(archived("archive/data.pkl", pickled) if zipped else pickled)
    assert "it asks for builtins.bytearray, which is no tensor" in refused(path)


def tiny_cnn14() -> Checkpoint:
    return dataclasses.replace(convert.PUBLISHED["cnn14"].checkpoint, model={"channels": 1}, labels=("a",))


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(convert.PUBLISHED, "cnn14", dataclasses.replace(convert.PUBLISHED["cnn14"], checkpoint=tiny_cnn14()))


# Registries


BARE = 'title = "T"\narchitecture = "erann-1-3"\nclasses = 2\n'
ROW = f'{BARE}weights = "x.safetensors"\n'
MINE = f"[checkpoints.mine]\n{ROW}"
WEIGHTS = f"[checkpoints.mine]\n{BARE}weights = "


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000, "x = " + "[" * 100_000, "x = " + "{a=" * 50_000, "a." * 100_000 + "a = 1",
        MINE + "[checkpoints.mine.metrics]\n" + "a." * 40 + "a = 1",
        "x = '" + "y" * (1 << 20) + "'", b"\xff\xfe\x00", b"\x00" * 100, "x = " + "1" * 10_000, "x = 0x" + "1" * 100_000,
        "default = 3", "default = []",
        "checkpoints = 3", "[[checkpoints]]", "[checkpoints]\nmine = 3", "[checkpoints.mine]\n", f"{MINE}{MINE}",
        f'[checkpoints."a/b"]\n{ROW}', f'[checkpoints."../b"]\n{ROW}', f'[checkpoints."a\\u0000"]\n{ROW}',
        f'[checkpoints."a\\u001b[2J"]\n{ROW}',
        f'[checkpoints.""]\n{ROW}', f'[checkpoints."a\\nb"]\n{ROW}', f'[checkpoints."hf:a/b"]\n{ROW}',
        f'[checkpoints."{"x" * 300}"]\n{ROW}',
        MINE.replace("2", "true"), MINE.replace("2", "-1"), MINE.replace("2", "0"), MINE.replace("2", "2.0"),
        MINE.replace('"T"', "3"),
        f"{MINE}size_bytes = true", f"{MINE}size_bytes = -1", f"{MINE}size_bytes = {10**15}", f"{MINE}parameters = false",
        f"{MINE}parameters = 1979-05-27",
        f'{MINE}sha256 = "12"', f'{MINE}sha256 = "{"g" * 64}"', f'{MINE}sha256 = ""', f"{MINE}sha256 = 3",
        f'{MINE}sha256 = "{"a" * 63}\\n"',
        f'{WEIGHTS}"hf:a/b"', f'{WEIGHTS}"embedded:../x"', f'{WEIGHTS}"embedded:/etc/passwd"',
        f'{WEIGHTS}"embedded:"', f'{WEIGHTS}"https://example.org/x.safetensors"',
        f'{WEIGHTS}"embedded:..\\\\x"', f'{WEIGHTS}"embedded:.."', f'{WEIGHTS}"a\\u0000b"',
        f"{WEIGHTS}[]",
        f'{MINE}metrics = {{ metric = "m", value = "x" }}', f"{MINE}metrics = {{ metric = 3, value = 1 }}",
        f'{MINE}paper = {{ metric = "m", value = nan }}',
        f"{MINE}metrics = 3", f"{MINE}members = 3", '[checkpoints.e]\ntitle = "T"\nclasses = 2\nmembers = ["a\\u0000", "b"]',
        '[checkpoints.e]\ntitle = "T"\nclasses = 2\nmembers = ["a", "b"]\nfusion_weights = [true, nan]',
        '[checkpoints.e]\ntitle = "T"\nclasses = 2\nmembers = ["a", "b"]\nfusion = "none"',
    ],
    ids=lambda text: str(text)[:70],
)  # fmt: skip
def test_a_registry_that_is_wrong(text: str | bytes, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    start = time.monotonic()
    with little_memory():
        line = check_one_line(run("checkpoints", "list", "--registry", path))
    assert time.monotonic() - start < SECONDS
    assert line.startswith(f"eranntag: error: {path}: ")


def test_a_registry_of_the_environment_is_read_as_carefully(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "fifo")
    monkeypatch.setenv("ERANNTAG_REGISTRY", str(tmp_path / "fifo"))
    assert "a pipe" in check_one_line(run("checkpoints", "list"))


def test_a_file_beside_a_registry_is_used_only_as_it_is_pinned(content: bytes, tmp_path: Path) -> None:

    (tmp_path / "folder").mkdir()
    path, registry = tmp_path / "tiny.safetensors", tmp_path / "folder/own.toml"
    path.write_bytes(content)
    digest = file_sha256(path)
    registry.write_text(f'{WEIGHTS}"../tiny.safetensors"\nsha256 = "{digest.upper()}"\nsize_bytes = {len(content)}\n')
    assert run("checkpoints", "pull", "mine", "--registry", registry).exit_code == 0  # one's own registry may name any file
    for damaged in (content[:-1], content + b"x", content[:-1] + bytes([content[-1] ^ 1]), b""):
        path.write_bytes(damaged)
        line = check_one_line(run("predict", "-c", "mine", "--registry", registry, "x.wav"))
        assert "mine: " in line and str(path.name) in line and "reinstall it, or correct" in line


def test_a_header_cannot_write_rows_of_a_registry(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    evil = 'x = 1 }\n[checkpoints.evil]\ntitle = "'
    changes = {"metrics": {evil: 1.0, "a": evil, "deep": {"b": 1}}, "title": evil + "\x7f", "licence": '"\n[checkpoints.evil]'}
    path.write_bytes(respelled(content, lambda spec: spec.update(changes)))
    (tmp_path / "own.toml").write_text(rows.file_row(str(path)))
    read = catalog.load_catalog(str(tmp_path / "own.toml")).rows
    assert read.keys() - catalog.load_catalog().rows.keys() == {"tiny"}
    assert read["tiny"].title == changes["title"] and read["tiny"].metrics == {evil: 1.0, "a": evil}


# Anything


def outcome(path: Path) -> Any:
    """What `path` is loaded as, None where it is refused. Any other error fails the test."""
    try:
        return weights.load(path)
    except EranntagError as error:
        assert len(str(error).splitlines()) == 1 and str(path) in str(error)
        return None


@FUZZ
@given(data=st.binary(max_size=200))
@example(data=put_together({"__metadata__": {header.KEY: "{}"}}))
def test_any_bytes(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    assert outcome(path) is None


@FUZZ
@given(
    change=st.sampled_from(["flip", "cut", "insert", "remove"]),
    where=st.one_of(st.integers(0, 40_000), st.integers(0, 10**7)),
    bits=st.integers(1, 255),
)
def test_any_damage(change: str, where: int, bits: int, content: bytes, tmp_path: Path) -> None:
    """A file that is not as it was written is refused, or has the same tensors."""
    path, where = tmp_path / "x.safetensors", where % len(content)
    damaged = {
        "flip": content[:where] + bytes([content[where] ^ bits]) + content[where + 1 :],
        "cut": content[:where],
        "insert": content[:where] + bytes([bits]) + content[where:],
        "remove": content[:where] + content[where + 1 :],
    }[change]
    path.write_bytes(damaged)
    if (network := outcome(path)) is not None:
        path.write_bytes(content)
        expected = weights.load(path).tensors()
        assert all(torch.equal(tensor, expected[name]) for name, tensor in network.tensors().items())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


@FUZZ
@given(field=st.sampled_from([field.name for field in dataclasses.fields(Checkpoint)]), value=JSON)
@pytest.mark.fuzz
def test_any_value_of_a_field(field: str, value: Any, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(respelled(content, lambda spec: spec.update({field: value})))
    outcome(path)


@FUZZ
@given(part=st.sampled_from(["model", "frontend"]), index=st.integers(0, 20), value=JSON)
def test_any_argument(part: str, index: int, value: Any, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    names = ["pooling", "frames", "gwrp_decay"] if part == "model" else list(SPEC.frontend)
    path.write_bytes(respelled(content, lambda spec: spec[part].update({names[index % len(names)]: value})))
    outcome(path)


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return "nan" if value is None else repr(value) if isinstance(value, float) else json.dumps(value).replace("\x7f", "\\u007f")


@FUZZ
@given(key=st.sampled_from([field.name for field in dataclasses.fields(catalog.Row)]), value=JSON, name=st.text(max_size=12))
@pytest.mark.fuzz
def test_any_row_of_a_registry(key: str, value: Any, name: str, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    row = {"title": "T", "architecture": "a", "classes": 2, "weights": "x", key: value}
    text = f"[checkpoints.{json.dumps(name)}]\n" + "".join(f"{each} = {toml(item)}\n" for each, item in row.items())
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    result = run("checkpoints", "list", "--registry", path)
    assert result.exit_code == 0 or check_one_line(result)


ADDRESS = st.text(alphabet=string.ascii_letters + "/@.:-_~%\\ \x00\n", max_size=30)


@FUZZ
@given(
    text=st.one_of(
        st.text(max_size=40), ADDRESS, st.tuples(ADDRESS, ADDRESS, ADDRESS).map(lambda parts: "a/b@" + "/".join(parts))
    )
)
@example(text="a/b@../../c")
@example(text="a/b/../../../../etc/passwd")
def test_no_address_leaves_the_cache(text: str, tmp_path: Path) -> None:
    try:
        file = hub.parse(f"hf:{text}")
    except UsageError:
        return
    root = tmp_path / "hub"
    path = root / file.repo / file.revision / file.file
    assert path.resolve().is_relative_to(root) and ".." not in path.parts and str(path).isprintable()
    assert all(not part.startswith(".") for part in path.relative_to(root).parts)


def test_the_file_that_all_this_begins_with_is_good(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(
        respelled(content, lambda spec: spec.update(labels=["犬", "\n"], metrics={"a": float("nan")}, thresholds=[0.5, 1]))
    )
    assert weights.load(path).checkpoint.labels == ("犬", "\n")
