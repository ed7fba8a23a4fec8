"""token-budget: the number of tokens that a bin may hold on the device that embeds."""

import json
import logging
from pathlib import Path

import torch

from virnucpro.data.cards import TokenBudget, read_model_card
from virnucpro.data.files import remove_leftovers, write_text
from virnucpro.encoders.devices import DTYPES, describe_device, lease_device, resolve_precision
from virnucpro.encoders.memory import MARGIN, device_memory, memory_of_model, token_budget, useful_budget

logger = logging.getLogger(__name__)


def probe_token_budget(
    model_json: Path, precision: str, requested: int | None, output: Path, device: str = "auto"
) -> None:
    """Write the token budget of a model on a device as JSON, a `TokenBudget`.

    Args:
        model_json: File of stage fetch-model; only the model's sizes are used.
        requested: Token budget that overrides the computed one.

    Raises:
        UserError: The model leaves no room on the device.
    """
    card = read_model_card(model_json)
    if device != "cpu" and not torch.cuda.is_available():
        logger.warning("no CUDA device: the CPU does the work")
    with lease_device(device) as leased:
        precision = resolve_precision(precision, leased)
        on_gpu = leased.type == "cuda"
        total, free = device_memory(leased)
        capability = list(torch.cuda.get_device_capability(leased)) if on_gpu else None
        name = describe_device(leased)
    memory = memory_of_model(card, DTYPES[precision].itemsize)
    if requested is None:
        fits = token_budget(total, memory)
        budget = useful_budget(fits, card["embed_dim"], memory.model_bytes // DTYPES[precision].itemsize, on_gpu)
        # Budgets are powers of two. If twice as many tokens would fit, memory is not the limit.
        limit = "larger bins are no faster" if 2 * budget <= fits else "twice as many would not fit beside the model"
        reason = f"{limit}; {fits} tokens would fit, estimated from the sizes of the model"
    else:
        budget, reason = requested, "set in the configuration"
    found = TokenBudget(
        device=name,
        capability=capability,
        total_bytes=total,
        free_bytes=free,
        model=card,
        precision=precision,
        model_bytes=memory.model_bytes,
        activation_bytes=memory.activation_bytes,
        margin=MARGIN,
        token_budget=budget,
        reason=reason,
    )
    remove_leftovers(output)
    write_text(output, json.dumps(found, indent=1) + "\n")
    logger.info("token budget: %d on %s in %s (%s)", budget, name, precision, reason)
