"""Several processes as one: `torchrun --nproc-per-node=N -m eranntag train ...`, a process a GPU (gloo on CPUs).

Each process computes its share of every batch; gradients are averaged by DistributedDataParallel and BatchNorm sees the whole
batch, so that N processes give the numbers of one with the same batch, up to rounding.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from eranntag.errors import TrainingError, UsageError


@dataclass(frozen=True)
class World:
    """This process's place among `size`."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """The one that writes files and messages."""
        return self.rank == 0

    def shares(self, batch: int, accumulate: int) -> list[slice]:
        """This process's examples of a batch, in `accumulate` equal parts. UsageError when that is impossible.

        A part of all processes together is the part of one: BatchNorm sees the same examples.
        """
        if batch % (self.size * accumulate):
            raise UsageError(f"a batch of {batch} cannot be divided among {self.size} processes x {accumulate} parts")
        part = batch // (self.size * accumulate)
        return [slice(start, start + part) for start in range(self.rank * part, batch, self.size * part)]

    def gather(self, items: list[Any]) -> list[Any]:
        """Everyone's items, on every process."""
        if self.size == 1:
            return items
        everyone: list[Any] = [None] * self.size
        dist.all_gather_object(everyone, items)
        return [item for theirs in everyone for item in theirs]

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the processes."""
        if self.size > 1:
            dist.all_reduce(values)
            values /= self.size
        return values

    def wait(self) -> None:
        if self.size > 1:
            dist.barrier()


def local_world_size() -> int:
    """The number of processes on this machine, which share its memory."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def restarted() -> bool:
    """Whether torchrun began again after a failure: what is there then is this very run's."""
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"


@dataclass(frozen=True)
class Machine:
    """Where a run is computed; it decides its speed, not its numbers (but for rounding)."""

    device: torch.device
    world: World = field(default_factory=World)
    compiled: bool = False
    workers: int = 2


@contextmanager
def connected(device: torch.device) -> Iterator[tuple[World, torch.device]]:
    """Yield the World that torchrun's environment describes (one process without it) and this process's device."""
    torch.backends.cudnn.benchmark = device.type == "cuda"  # images have one size all along
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield World(), device
        return
    if device.type == "cuda":
        local = int(os.environ["LOCAL_RANK"])
        if local >= (there := torch.cuda.device_count()):
            raise UsageError(f"process {local} of this machine has no GPU of its own; --nproc-per-node can be {there} at most")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(dist.get_rank(), dist.get_world_size()), device
    except RuntimeError as error:
        if peer_is_gone(error):
            raise TrainingError("another process has ended; the same command goes on after the last save") from None
        raise
    dist.destroy_process_group()  # not after an error: the others may be waiting, and torchrun ends them


def peer_is_gone(error: RuntimeError) -> bool:
    """Whether gloo or NCCL complain of the other side, which has its own line about what happened."""
    signs = ("Connection closed by peer", "Connection reset by peer", "Read error", "Broken pipe", "NCCL", "ncclRemoteError")
    return any(sign in str(error) for sign in signs)


def wrapped(model: nn.Module, world: World, device: torch.device) -> nn.Module:
    """What the loop calls: `model` itself, or DistributedDataParallel around it, its BatchNorms synchronized in place."""
    if world.size == 1:
        return model
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]  # torch has no annotation for it
    else:
        _synchronize(model)
    return DistributedDataParallel(model, [device] if device.type == "cuda" else None)


class _Sum(torch.autograd.Function):
    """The sum over all processes; so is its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    backward = forward


class _SyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """BatchNorm over the batches of all processes; torch's own works on GPUs only."""

    num_batches_tracked: Tensor  # all three are there: the models' norms track statistics
    running_mean: Tensor
    running_var: Tensor
    momentum: float

    def _check_input_dim(self, input: Tensor) -> None: ...

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        axes = [0, *range(2, x.ndim)]
        shape = [1, -1] + [1] * (x.ndim - 2)
        wide = x.float()
        count = x.numel() // x.shape[1] * dist.get_world_size()  # shares are equal
        mean = _Sum.apply(wide.sum(axes)) / count  # (channels,)
        centered = wide - mean.view(shape)
        variance = _Sum.apply((centered**2).sum(axes)) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        normalized: Tensor = centered * scale.view(shape) + self.bias.view(shape)
        return normalized.to(x.dtype)


def _synchronize(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.__class__ = _SyncBatchNorm  # type: ignore[assignment]  # in place: the optimizer has its parameters
