"""token-budget: how many tokens a bin may hold on the kind of device that will run the bins."""

import json
import logging
import os
from pathlib import Path
from typing import Any, TypedDict

import torch

from virnucpro.data.budget import CPU_TOKEN_BUDGET, MARGIN, STEP, ModelMemory, calculate_token_budget, estimate_memory
from virnucpro.data.collation import VarlenCollator
from virnucpro.data.files import write_text
from virnucpro.models.checkpoint import load_esm2
from virnucpro.models.devices import DTYPES, describe_device, lease_device, resolve_precision
from virnucpro.models.esm2 import ESM2
from virnucpro.models.weights import find_weights

logger = logging.getLogger(__name__)

TRIAL_TOKENS = (4 * STEP, 8 * STEP)
MOST_TOKENS = 256 * STEP  # keeps the largest arrays within what 32-bit indices of kernels reach, up to 3B


class TokenBudget(TypedDict):
    """What the probe found; `reason` says in words where `token_budget` comes from."""

    device: str
    capability: list[int] | None
    total_bytes: int
    free_bytes: int
    model: dict[str, Any]
    precision: str
    model_bytes: int
    activation_bytes: int
    margin: float
    token_budget: int
    reason: str


def probe_token_budget(
    model_json: Path,
    model: str,
    precision: str,
    requested: int | None,
    output: Path,
    device: str = "auto",
) -> None:
    """Probe the device and write its token budget as JSON.

    Args:
        model_json: what fetch-model wrote.
        model: name or path of that model.
        precision: auto, float32, bfloat16 or float16.
        requested: a budget that overrides the probe, or None.
        output: the JSON file, a `TokenBudget`.
        device: auto, gpu or cpu.

    Raises:
        UserError: the model leaves no room on the device.
    """
    card = json.loads(model_json.read_text())
    if device != "cpu" and not torch.cuda.is_available():
        logger.warning("no CUDA device: the CPU does the work")
    with lease_device(device) as leased:
        precision = resolve_precision(precision, leased)
        dtype = DTYPES[precision]
        memory = estimate_memory(card["layers"], card["embed_dim"], dtype.itemsize)
        if leased.type == "cuda":
            free, total = torch.cuda.mem_get_info(leased)
            capability = list(torch.cuda.get_device_capability(leased))
            if requested is None:
                memory = measure_memory(load_esm2(find_weights(model).path, leased, dtype), leased)
                reason = "activations of two trial bins were measured; with the model they fill all but the margin"
        else:
            total, free = _host_memory()
            capability = None
            reason = "the default of a CPU"
        if requested is not None:
            budget, reason = requested, "set in the configuration"
        elif leased.type == "cuda":
            fits = calculate_token_budget(leased.index, memory)
            budget = min(fits, MOST_TOKENS)
            reason += f"; {fits} tokens would fit, more than {MOST_TOKENS} are of no use" if fits > budget else ""
        else:
            budget = CPU_TOKEN_BUDGET
        name = describe_device(leased)
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
    write_text(output, json.dumps(found, indent=1) + "\n")
    logger.info("token budget: %d on %s in %s (%s)", budget, name, precision, reason)


def measure_memory(model: ESM2, device: torch.device) -> ModelMemory:
    """Return a model's bytes on a CUDA device, and the bytes that each further token of a bin adds to the peak."""
    model_bytes = torch.cuda.memory_allocated(device)
    peaks = []
    for tokens in TRIAL_TOKENS:
        sequences = [{"id": str(number), "sequence": "A" * 126} for number in range(tokens // 128)]
        batch = VarlenCollator()(sequences).to(device)
        torch.cuda.reset_peak_memory_stats(device)
        with torch.inference_mode():
            model(batch)
        torch.cuda.synchronize(device)
        peaks.append(torch.cuda.max_memory_allocated(device))
    return ModelMemory(model_bytes, -(-(peaks[1] - peaks[0]) // (TRIAL_TOKENS[1] - TRIAL_TOKENS[0])))


def _host_memory() -> tuple[int, int]:
    page = os.sysconf("SC_PAGE_SIZE")
    return page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")
