"""Continue prompts token by token.

B batch, T prompt length, S encoder length, N longest length, M new tokens, D model width, E end tokens, V vocabulary, C candidates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from configs import GenerationConfig, as_ids, build
from transformer_torch.cache import Cache

if TYPE_CHECKING:
    from transformer_torch.model import Transformer


@torch.no_grad()
def generate(model: Transformer, input_ids: Any, attention_mask: Any = None, **settings: Any) -> torch.Tensor:
    """Prompts and what follows them; from an encoder-decoder, what it says to its input, decoder_start first.

    input_ids: integers (B, T), padded on the left. attention_mask: (B, T), 1 for tokens and 0 for padding.
    settings: those of `configs.GenerationConfig`; greedy without any.
    Result: integers (B, T + at most max_new_tokens). Raises UserError before anything is computed.
    """
    config, weight = model.config, next(model.parameters())
    device = weight.device
    prompt_BT = as_ids(on_host(input_ids), "input_ids")
    attended_BT = None if attention_mask is None else as_ids(on_host(attention_mask), "attention_mask")
    generation = build(GenerationConfig, settings, "generate").complete(config)
    generation.check(config, prompt_BT, attended_BT)
    was_training = model.training
    model.eval()
    source: dict[str, Any] = {}
    if model.encoder is not None:
        seen_BS = None if attended_BT is None else torch.from_numpy(attended_BT).to(device)
        encoded_BSD = model.encoder(torch.from_numpy(prompt_BT).to(device), seen_BS)
        source = {"encoded_BSD": encoded_BSD, "encoder_mask_BS": seen_BS}
        prompt_BT, attended_BT = np.full((len(prompt_BT), 1), config.special_tokens.decoder_start), None
    batch, length = prompt_BT.shape
    total = length + generation.max_new_tokens
    pad, eos = generation.pad_token_id, generation.eos_token_id or ()
    uniforms_MB = np.random.default_rng(generation.seed).random((generation.max_new_tokens, batch))

    mask_BN = position_ids_BT = None
    if attended_BT is not None and not attended_BT.all():
        mask_BN = torch.ones(batch, total, dtype=torch.long, device=device)
        mask_BN[:, :length] = torch.from_numpy(attended_BT)
        position_ids_BT = (mask_BN[:, :length].cumsum(-1) - 1).clamp(min=0)
    cache = Cache(config, batch, total, weight.dtype, device)
    tokens_BN = torch.full((batch, total), pad, dtype=torch.long, device=device)
    tokens_BN[:, :length] = torch.from_numpy(prompt_BT)
    finished_B = torch.zeros(batch, dtype=torch.bool, device=device)
    eos_E = torch.tensor(eos, dtype=torch.long, device=device)

    hidden_BTD = model.decoder(tokens_BN[:, :length], mask_BN, position_ids_BT, cache=cache, **source)
    for step in range(generation.max_new_tokens):
        logits_BV = model.head(hidden_BTD[:, -1:], model.token_table())[:, 0]
        if generation.do_sample:
            next_B = sample(logits_BV, generation, torch.from_numpy(uniforms_MB[step]).to(device))
        else:
            next_B = logits_BV.argmax(-1)
        next_B = torch.where(finished_B, pad, next_B)
        tokens_BN[:, length + step] = next_B
        finished_B = finished_B | torch.isin(next_B, eos_E)
        if finished_B.all() or step + 1 == generation.max_new_tokens:
            break
        if position_ids_BT is not None:
            position_ids_BT = position_ids_BT[:, -1:] + 1
        hidden_BTD = model.decoder(next_B[:, None], mask_BN, position_ids_BT, cache=cache, **source)
    model.train(was_training)
    return tokens_BN[:, : length + step + 1]


def sample(logits_BV: torch.Tensor, generation: GenerationConfig, uniforms_B: torch.Tensor) -> torch.Tensor:
    """The token at which the sum of probabilities, from the most probable down, first reaches a uniform random number."""
    sorted_BV, order_BV = torch.sort(logits_BV.double(), dim=-1, descending=True, stable=True)
    probabilities_BC = torch.softmax(sorted_BV[:, : generation.top_k] / generation.temperature, -1)
    cumulative_BC = probabilities_BC.cumsum(-1)
    index_B1 = (cumulative_BC < uniforms_B[:, None] * cumulative_BC[:, -1:]).sum(-1, keepdim=True)
    return order_BV.gather(-1, index_B1)[:, 0]


def on_host(ids: Any) -> Any:
    """What may be a tensor on any device, where NumPy can read it."""
    return ids.detach().cpu().numpy() if isinstance(ids, torch.Tensor) else ids
