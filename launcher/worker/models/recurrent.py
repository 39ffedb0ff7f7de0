"""Recurrent networks over padded batches: what lies behind a sequence's length has no part in its output or gradient."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

CELLS: dict[str, type[nn.RNNBase]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


class Recurrent(nn.Module):
    """(N, T, input_size) -> (N, out_features), or (N, T, out_features) where `output` is `all`.

    Each layer is a module of its own with dropout between them: cuDNN's own dropout draws from a state that lives as long as the
    process, so that a resumed training would get other masks.
    """

    def __init__(
        self, cell: type[nn.RNNBase], *, input_size: int, hidden_size: int, num_layers: int, out_features: int,
        bidirectional: bool, dropout: float, output: Literal["last", "all"], **settings: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        directions = 2 if bidirectional else 1
        widths = [input_size] + [directions * hidden_size] * num_layers
        self.layers = nn.ModuleList(
            cell(width, hidden_size, batch_first=True, bidirectional=bidirectional, **settings)  # type: ignore[arg-type]
            for width in widths[:num_layers]
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(widths[-1], out_features)
        self.output = output

    def forward(self, input: Tensor, input_lengths: Tensor | None = None) -> Tensor:  # noqa: A002  # as torch's layers call it
        given: Tensor | PackedSequence = input
        if input_lengths is not None:
            given = pack_padded_sequence(input, input_lengths.cpu(), batch_first=True, enforce_sorted=False)
        steps, last = self.through_layers(given)
        if isinstance(steps, PackedSequence) and self.output == "all":  # waits for the device
            steps, _ = pad_packed_sequence(steps, batch_first=True, total_length=input.shape[1])
        return self.head(self.dropout(last if self.output == "last" else steps))  # type: ignore[no-any-return]

    def through_layers(self, states: Any) -> tuple[Any, Tensor]:
        """States of the top layer at every step, and at the last valid one: of a backward direction, which ends there, at the
        first."""
        for number, layer in enumerate(self.layers):
            states, final = layer(states if number == 0 else self.dropped(states))
        hidden = final[0] if isinstance(final, tuple) else final
        return states, torch.cat(tuple(hidden), dim=1)

    def dropped(self, states: Any) -> Any:
        if isinstance(states, PackedSequence):
            return states._replace(data=self.dropout(states.data))
        return self.dropout(states)


def recurrent(
    *, name: str, input_size: int, hidden_size: int = 128, num_layers: int = 1, out_features: int, bidirectional: bool = False,
    dropout: float = 0.0, output: Literal["last", "all"] = "last", activation: str | None = None,
) -> Recurrent:  # fmt: skip
    """`name`: rnn, lstm or gru."""
    settings = {} if activation is None else {"nonlinearity": activation}
    return Recurrent(
        CELLS[name], input_size=input_size, hidden_size=hidden_size, num_layers=num_layers, out_features=out_features,
        bidirectional=bidirectional, dropout=dropout, output=output, **settings,
    )  # fmt: skip
