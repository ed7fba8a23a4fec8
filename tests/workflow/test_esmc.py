"""A run whose encoder is an ESM C: token budget, embeddings, a training and calls."""

import json
from pathlib import Path

import pandas as pd

from tests.encoders import esmc
from tests.encoders.checkpoints import save
from tests.workflow.project import Project
from tests.workflow.test_calls import genome


def test_a_training_and_calls_with_esmc(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.add_classifier()  # for the small ESM-2
    save(tmp_path / "esmc.pth", esmc.random_state(2, 64))
    rows = ["fasta\tlabel\tgroup\n"]
    for number in range(6):
        label = "viral" if number % 2 else "cellular"
        (tmp_path / f"g{number}.fa").write_text(f">a\n{genome(label, number)}\n>b\n{genome(label, 50 + number)}\n")
        rows.append(f"g{number}.fa\t{label}\tgroup{number}\n")
    (tmp_path / "training.tsv").write_text("".join(rows))
    project.config |= {"model": "esmc.pth", "training": "training.tsv", "training_bases": 20_000}
    project.config |= {"token_budget": "auto", "shard_tokens": 50_000, "prior": 0.5, "max_fdr": 0.3}
    project.add("soil", f">v\n{genome('viral', 98, 5000)}\n>c\n{genome('cellular', 99, 5000)}\n")
    refused = project.run()
    assert refused.returncode == 1
    assert "config: model is esmc.pth, but the classifier was trained with tiny" in refused.stderr
    assert "Traceback" not in refused.stderr
    project.config |= {"call": False, "classifier": "default"}
    done = project.run("--", "train")
    assert done.returncode == 0, done.stderr
    project.config |= {"call": True, "classifier": "out/training/classifier/classifier.safetensors"}
    done = project.run()
    assert done.returncode == 0, done.stderr
    budget = json.loads((project.work / "token_budget.json").read_text())
    assert (budget["model"]["architecture"], budget["token_budget"]) == ("ESM C", 4096)
    contigs = pd.read_csv(project.results / "soil" / "contigs.tsv", sep="\t")
    assert contigs["call"].tolist() == ["viral", "cellular"], contigs["log_odds"]
