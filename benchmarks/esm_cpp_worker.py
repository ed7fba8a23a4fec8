"""esm-cpp in a separate environment, as a child of embedding.py. With the name esm_cpp.py it would import itself."""

import json
import sys
import time

import esm_cpp
import numpy as np


def main() -> None:
    """Read lists of batches in a line, then what to do with one of them in each line; answer each with the seconds."""
    models = {name: esm_cpp.Model.load_from_safetensors(sys.argv[1]) for name in ("FP32", "INT8")}
    models["INT8"].quantize_weights()
    lists = [[[np.array(ids, np.int32) for ids in batch] for batch in batches] for batches in json.loads(input())]
    for line in sys.stdin:
        precision, call, number = json.loads(line)
        embed = getattr(models[precision], call)
        start = time.perf_counter()
        for batch in lists[number]:
            embed(batch)
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
