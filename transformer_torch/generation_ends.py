"""Which texts are over. A states of the automaton, V vocabulary, R rows."""

from __future__ import annotations

import torch


class Ends:
    """`configs.stopping.Stops` as tensors.

    table_AV: the state that each token leads to; the last state is the end, which nothing leaves. state_R: that of each prompt.
    """

    def __init__(self, table_AV: torch.Tensor, state_R: torch.Tensor) -> None:
        self.table_AV = table_AV
        self.state_R = state_R

    def after(self, state: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """The states of texts with one more token each; of the tokens' shape."""
        return self.table_AV[state, tokens]

    def has_come(self, state: torch.Tensor) -> torch.Tensor:
        """Whether texts are over; of the states' shape."""
        return state == len(self.table_AV) - 1
