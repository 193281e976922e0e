"""The processes of one run: this one alone, or those that ``accelerate launch`` started."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from indexer.embedding.precision import pick_device

if TYPE_CHECKING:
    from semsearch.training.run.rundir import State


class Ranks:
    """This process among those of the run.

    Attributes:
        rank: This process's number, from 0.
        world: How many processes there are.
        device: Where this one computes.
    """

    def __init__(self, device: str | None) -> None:
        """Join the other processes where there are some; ``device`` None: the best there is."""
        self.rank, self.world = 0, int(os.environ.get("WORLD_SIZE", "1"))
        if self.world > 1:
            from accelerate import PartialState

            state = PartialState(cpu=device == "cpu" or not torch.cuda.is_available())
            self.rank = int(state.process_index)
            self.device = torch.device(state.device)
        else:
            self.device = pick_device(device)

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the tensor with those of all processes added to it, in place."""
        torch.distributed.all_reduce(tensor)
        return tensor

    def from_first(self, value: float) -> float:
        """Return the first process's value, in all."""
        if self.world == 1:
            return value
        tensor = torch.tensor([value], dtype=torch.float64, device=self.device)
        torch.distributed.broadcast(tensor, 0)
        return float(tensor)

    def share(self, state: State | None) -> State | None:
        """Return the first process's state, in all."""
        if self.world == 1:
            return state
        box = [state]
        torch.distributed.broadcast_object_list(box, 0)
        return box[0]

    def leave(self) -> None:
        """Part, once all are here: a process that ended with its connections open was aborted now and then."""
        if self.world > 1:
            torch.distributed.barrier()
            torch.distributed.destroy_process_group()
