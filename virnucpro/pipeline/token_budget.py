"""token-budget: how many tokens a bin may hold on the kind of device that will run the bins."""

import json
import logging
import os
from pathlib import Path

import torch

from virnucpro.data.budget import CPU_TOKEN_BUDGET, MARGIN, STEP, estimate_memory, token_budget
from virnucpro.data.cards import TokenBudget, read_model_card, record_of
from virnucpro.data.files import write_text
from virnucpro.data.provenance import begin_writing, checked_input, write_provenance
from virnucpro.encoders.checkpoint import load_esm2
from virnucpro.encoders.devices import DTYPES, describe_device, lease_device, resolve_precision
from virnucpro.encoders.probe import measure_memory, useful_tokens
from virnucpro.encoders.weights import find_weights

logger = logging.getLogger(__name__)

MOST_TOKENS = 256 * STEP  # keeps the largest arrays within what 32-bit indices of kernels reach, up to 3B


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
    card = read_model_card(model_json)
    source = checked_input(model_json, record_of(model_json))
    begin_writing(record_of(output), [output])
    wanted = {"precision": precision, "token_budget": requested or "auto", "device": device}
    if device != "cpu" and not torch.cuda.is_available():
        logger.warning("no CUDA device: the CPU does the work")
    with lease_device(device) as leased:
        precision = resolve_precision(precision, leased)
        dtype = DTYPES[precision]
        if leased.type == "cuda":
            free, total = torch.cuda.mem_get_info(leased)
            capability = list(torch.cuda.get_device_capability(leased))
        else:
            total, free = _host_memory()
            capability = None
        if requested is None:
            trial = load_esm2(find_weights(model).path, leased, dtype)
            memory = measure_memory(trial)
            fits = min(token_budget(total, memory), MOST_TOKENS)
            # Whoever else works on a CPU moves the timing; the budget of one kind of machine must be one number.
            budget = useful_tokens(trial, fits) if leased.type == "cuda" else min(fits, CPU_TOKEN_BUDGET)
            reason = f"larger bins are no faster; {fits} tokens would fit, as measured"
            if budget == fits:
                reason = "measured: with the model the activations fill all but the margin"
        else:
            memory = estimate_memory(card["layers"], card["embed_dim"], dtype.itemsize)
            budget, reason = requested, "set in the configuration"
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
    details = {"device": name, "precision": precision, "token_budget": budget}
    write_provenance(record_of(output), "token-budget", wanted, {"model": source}, [output], details)
    logger.info("token budget: %d on %s in %s (%s)", budget, name, precision, reason)


def _host_memory() -> tuple[int, int]:
    page = os.sysconf("SC_PAGE_SIZE")
    return page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")
