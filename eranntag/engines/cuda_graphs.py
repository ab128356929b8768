"""CUDA graphs: the kernels of one shape are launched as one. A single clip is otherwise bound by launching them."""

from collections.abc import Callable
from threading import Lock

import torch
from torch import Tensor

MAX_SHAPES = 8  # captured: each keeps its memory


class CapturedGraphs:
    """`function` of one CUDA tensor, captured for the first shapes that come twice; where that fails, it is simply called."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function
        self.max_shapes = MAX_SHAPES
        self.lock = Lock()
        self.seen: set[torch.Size] = set()
        self.captured: dict[torch.Size, tuple[torch.cuda.CUDAGraph, Tensor, Tensor]] = {}

    def __call__(self, argument: Tensor) -> Tensor:
        if argument.shape not in self.captured:
            if argument.shape not in self.seen or len(self.captured) == self.max_shapes:
                self.seen.add(argument.shape)
                return self.function(argument)
            try:
                self.captured[argument.shape] = self._capture(argument)
            except RuntimeError:  # an operation that cannot be captured, or no memory for it
                self.max_shapes = len(self.captured)
                return self.function(argument)
        graph, placeholder, result = self.captured[argument.shape]
        with self.lock:
            placeholder.copy_(argument)
            graph.replay()
            return result.clone()  # the graph's own is overwritten by the next replay

    def _capture(self, argument: Tensor) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor]:
        placeholder = argument.clone()
        stream = torch.cuda.Stream(argument.device)  # type: ignore[no-untyped-call]  # torch has no type for it
        stream.wait_stream(torch.cuda.current_stream(argument.device))
        with torch.cuda.stream(stream):  # cuFFT's plans and cuDNN's choices are made outside the graph
            for _ in range(3):
                self.function(placeholder)
        torch.cuda.current_stream(argument.device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):  # of this very GPU: the default one may be another's
            result = self.function(placeholder)
        return graph, placeholder, result
