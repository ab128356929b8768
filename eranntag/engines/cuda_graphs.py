"""CUDA graphs: the kernels of one shape are launched as one. A single clip is otherwise bound by launching them."""

from collections.abc import Callable
from threading import Lock

import torch
from torch import Tensor

SHAPES = 8  # captured at most: each keeps its memory


class Graphs:
    """`function` of one CUDA tensor, captured for the first shapes that come twice; where that fails, it is simply called."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function, self.shapes, self.lock = function, SHAPES, Lock()
        self.seen: set[torch.Size] = set()
        self.captured: dict[torch.Size, tuple[torch.cuda.CUDAGraph, Tensor, Tensor]] = {}

    def __call__(self, given: Tensor) -> Tensor:
        if given.shape not in self.captured:
            if given.shape not in self.seen or len(self.captured) == self.shapes:
                self.seen.add(given.shape)
                return self.function(given)
            try:
                self.captured[given.shape] = self._capture(given)
            except RuntimeError:  # an operation that cannot be captured, or no memory for it
                self.shapes = len(self.captured)
                return self.function(given)
        graph, place, result = self.captured[given.shape]
        with self.lock:
            place.copy_(given)
            graph.replay()
            return result.clone()  # the graph's own is overwritten by the next replay

    def _capture(self, given: Tensor) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor]:
        place = given.clone()
        stream = torch.cuda.Stream(given.device)
        stream.wait_stream(torch.cuda.current_stream(given.device))
        with torch.cuda.stream(stream):  # cuFFT's plans and cuDNN's choices are made outside the graph
            for _ in range(3):
                self.function(place)
        torch.cuda.current_stream(given.device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):  # of this very GPU: the default one may be another's
            result = self.function(place)
        return graph, place, result
