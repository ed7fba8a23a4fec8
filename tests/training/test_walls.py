"""Imports: only training loads scikit-learn, and only its stages import virnucpro.training."""

import re

from tests.conftest import ROOT


def test_only_training_loads_scikit_learn() -> None:
    importing: dict[str, set[str]] = {"sklearn": set(), r"virnucpro\.training": set()}
    for path in (ROOT / "virnucpro").rglob("*.py"):
        for name, found in importing.items():
            if re.search(rf"^\s*(from|import) {name}\b", path.read_text(), re.MULTILINE):
                found.add(path.relative_to(ROOT / "virnucpro").as_posix())
    assert {path.split("/")[0] for path in importing["sklearn"]} == {"training"}
    outside = {path for path in importing[r"virnucpro\.training"] if not path.startswith("training/")}
    assert outside == {"pipeline/train.py", "pipeline/train_names.py", "pipeline/fragment.py"}
