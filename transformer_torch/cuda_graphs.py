"""Decoding on a GPU: a step is a CUDA graph, so that its hundreds of small kernels start with one call. TensorFlow has no such file: XLA
runs the whole loop.

R rows, T query length, V vocabulary.
"""

from __future__ import annotations

import copy
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from transformer_torch.generation_rows import Rows

# How many memories a model keeps for its next texts, and a memory of steps with their choice.
KEPT = 4
# Reads T tokens more of some texts, and gives logits (R, T, V).
Program = Callable[["Rows", torch.Tensor], torch.Tensor]
# Runs a step on a device, and gives what runs it again in the same memory, and what it gave.
Record = Callable[[Callable[[], torch.Tensor], torch.device], tuple[Callable[[], Any], torch.Tensor]]


def record(step: Callable[[], torch.Tensor], device: torch.device) -> tuple[Callable[[], Any], torch.Tensor]:
    """Record the kernels of a step. It is run before, because what is compiled or chosen on a first run cannot be recorded."""
    with torch.cuda.device(device):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # Other threads may go on with their own work.
        with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
            result = step()
    return graph.replay, result


class StepMemory:
    """Memory for texts of one shape, and the steps that are recorded in it, one for each number of tokens, in training and not, with
    autocast and without.

    rows: texts whose tensors are that memory.
    """

    def __init__(self, rows: Rows, program: Program, record: Record) -> None:
        self.rows = copy.copy(rows)
        self.program = program
        self.record = record
        self.kind = kind(rows)
        self.device = rows.cache.layers[0].key_BGNK.device
        self.length = torch.zeros((), dtype=torch.long, device=self.device)
        # Those of `generation_ahead`: a step with the choice of its token.
        self.greedy_steps: dict[tuple[Any, ...], Any] = {}
        self.steps: dict[tuple[Any, ...], tuple[Callable[[], Any], torch.Tensor, torch.Tensor]] = {}
        self.user: Callable[[], Any] = weakref.ref(rows)

    def take(self, rows: Rows) -> None:
        """Move other texts of this shape in here, to stay until nobody needs them any more."""
        self.user = weakref.ref(rows)
        held, length = self.rows, rows.cache.length
        for place, tensor in zip(tensors(held), tensors(rows), strict=True):
            place.copy_(tensor)
        rows.cache, rows.mask_RN, rows.pads_R1, rows.encoder_mask_RS = held.cache, held.mask_RN, held.pads_R1, held.encoder_mask_RS
        rows.cache.length = length

    def run(self, tokens_RT: torch.Tensor) -> torch.Tensor:
        """Logits (R, T, V) of the token after each of these; the next run writes over them."""
        count, start = tokens_RT.shape[1], self.rows.cache.length
        key = count, *self.circumstances()
        self.length.fill_(start)
        if key not in self.steps:
            held_RT = tokens_RT.clone()
            self.steps[key] = (*self.record(lambda: self.step(held_RT), self.device), held_RT)
        again, logits_RTV, held_RT = self.steps[key]
        held_RT.copy_(tokens_RT)
        again()
        self.rows.cache.length = start + count
        return logits_RTV

    def circumstances(self) -> tuple[bool, bool]:
        """What a recorded step depends on, beside what is fixed for all of a memory."""
        return self.rows.model.training, torch.is_autocast_enabled(self.device.type)

    def step(self, tokens_RT: torch.Tensor) -> torch.Tensor:
        self.rows.cache.length = self.length
        return self.program(self.rows, tokens_RT)


class StepMemories:
    """The memories of a model: each serves one set of texts at a time, and threads may ask for one at once. device: where steps can be
    recorded."""

    def __init__(self, program: Program, record: Record = record, device: str = "cuda") -> None:
        self.program = program
        self.record = record
        self.device = device
        self.memories: list[StepMemory] = []
        self.lock = threading.Lock()

    def __deepcopy__(self, memo: Any) -> StepMemories:
        return StepMemories(self.program, self.record, self.device)

    def place(self, rows: Rows) -> StepMemory:
        """Where these texts are from now on: in a memory of their shape that nobody uses, or in one of their own."""
        asked = kind(rows)
        with self.lock:
            for place, memory in enumerate(self.memories):
                if memory.user() is None and memory.kind == asked:
                    memory.take(rows)
                    self.memories.append(self.memories.pop(place))
                    return memory
            self.memories.append(StepMemory(rows, self.program, self.record))
            del self.memories[:-KEPT]
            return self.memories[-1]


def tensors(rows: Rows) -> list[torch.Tensor]:
    """All that is kept of some texts."""
    kept = [tensor for layer in rows.cache.layers for tensor in (layer.key_BGNK, layer.value_BGNK)]
    kept += [tensor for key_value in rows.cache.cross for tensor in key_value]
    return kept + [tensor for tensor in (rows.mask_RN, rows.pads_R1, rows.encoder_mask_RS) if tensor is not None]


def kind(rows: Rows) -> tuple[Any, ...]:
    """All that is fixed in a recorded step: shapes, how layers keep their keys, which masks there are, and where the weights are."""
    shapes = [(tensor.shape, tensor.dtype, tensor.device) for tensor in tensors(rows)]
    layers = [(type(layer), getattr(layer, "ahead", 0)) for layer in rows.cache.layers]
    masks = rows.mask_RN is None, rows.encoder_mask_RS is None
    weights = [tensor.data_ptr() for tensor in (*rows.model.parameters(), *rows.model.buffers())]
    return shapes, layers, masks, weights, torch.is_inference_mode_enabled()


def are_recorded(rows: Rows) -> bool:
    """Whether the steps of these texts are recorded, so that the host is soon done with one."""
    memories: StepMemories | None = rows.model.step_memories
    return memories is not None and memories.device == rows.cache.layers[0].key_BGNK.device.type
