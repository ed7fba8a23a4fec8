"""token-budget: the number of tokens that a bin may hold on the device that embeds."""

import ctypes
import json
import logging
from contextlib import suppress
from pathlib import Path

from virnucpro.data.cards import TokenBudget, read_model_card
from virnucpro.data.files import remove_leftovers, write_text
from virnucpro.encoders.memory import MARGIN, device_memory, host_memory, memory_of_model, token_budget, useful_budget

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
    if device == "cpu" or (device == "auto" and not has_driver()):
        name, capability, (total, free) = "cpu", None, host_memory()
        precision = "float32" if precision == "auto" else precision
    else:
        name, capability, (total, free), precision = _probe(device, precision)
    if device != "cpu" and name == "cpu":
        logger.warning("no CUDA device: the CPU does the work")
    itemsize = 4 if precision == "float32" else 2
    memory = memory_of_model(card, itemsize)
    if requested is None:
        fits = token_budget(total, memory)
        budget = useful_budget(fits, card["embed_dim"], memory.model_bytes // itemsize, on_gpu=name != "cpu")
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


def has_driver() -> bool:
    """Return whether this machine has a driver of CUDA or ROCm, without which torch sees no device."""
    with suppress(OSError):
        return bool(ctypes.CDLL("libcuda.so.1"))
    return Path("/dev/kfd").exists()


def _probe(device: str, precision: str) -> tuple[str, list[int] | None, tuple[int, int], str]:
    """Return name, CUDA capability, total and free bytes of a device, and its precision."""
    import torch  # here: it takes more than a second of a CPU to load

    from virnucpro.encoders.devices import describe_device, lease_device, resolve_precision

    with lease_device(device) as leased:
        capability = list(torch.cuda.get_device_capability(leased)) if leased.type == "cuda" else None
        return describe_device(leased), capability, device_memory(leased), resolve_precision(precision, leased)
