"""Stages that are called by hand with a wrong file: one line, and nothing is changed."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.workflow.project import Project, contigs


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, forks: dict[str, str]) -> Project:
    """A run, and beside it files that somebody may take for others."""
    made = Project(tmp_path_factory.mktemp("by_hand"), forks)
    made.add("soil", contigs(1, 2))
    made.add("proteome", ">p\nMKTAYIAKQR\n", kind="proteins")
    made.config["shard_tokens"] = 100_000
    made.add_classifier()
    made.complete()
    (made.folder / "empty").mkdir()
    (made.folder / "list.json").write_text(json.dumps(["tiny", "2"]))
    (made.folder / "bytes").write_bytes(bytes(range(256)))
    proteins = (made.results / "soil" / "prepared" / "proteins.faa").read_text()
    (made.folder / "half.faa").write_text(proteins[: len(proteins) // 2])
    (made.folder / "other.faa").write_text(proteins.replace("A", "G"))
    shutil.copytree(made.results / "soil" / "manifests", made.folder / "copy" / "manifests")
    shutil.copytree(made.results / "soil", made.folder / "unfinished")
    shutil.rmtree(made.folder / "unfinished" / "shards")
    shutil.copytree(made.results / "soil", made.folder / "mixed")
    shard = made.folder / "mixed" / "shards" / "0001.h5"
    os.truncate(shard, shard.stat().st_size // 2)
    return made


MANIFEST = "out/soil/manifests/0001.json"
PROTEINS = "out/soil/prepared/proteins.faa"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("prepare absent.fa new", "absent.fa: no such file"),
        ("prepare empty new", "empty: .*folder"),
        ("prepare bytes new", "bytes: "),
        ("prepare soil.fa tiny.pt", "tiny.pt"),
        ("fetch-model soil.fa --output new.json", "soil.fa: "),
        ("fetch-model tiny.pt --output new.json --layers 7", "no layer 7"),
        ("token-budget list.json new.json", "list.json: not what the fetch-model stage writes: "),
        ("token-budget soil.fa new.json", "soil.fa: not what the fetch-model stage writes: "),
        ("token-budget absent.json new.json", "absent.json: no such file; run the fetch-model stage"),
        ("pack empty out/token_budget.json --sample x", "empty/provenance.json: prepare has not finished; run it"),
        ("pack soil.fa out/token_budget.json --sample x", "soil.fa/provenance.json: "),
        ("pack out/soil soil.fa --sample x", "soil.fa: not what the token-budget stage writes: "),
        ("pack out/soil bytes --sample x", "bytes: not what the token-budget stage writes: "),
        ("pack out/soil list.json --sample x", "list.json: not what the token-budget stage writes: "),
        ("pack out/soil out/model.json --sample x", "out/model.json: not what the token-budget stage writes: "),
        (f"pack out/soil {MANIFEST} --sample x", f"{MANIFEST}: not what the token-budget stage writes: "),
        ("pack out/soil out/token_budget.json --sample x --layers 3", "no layer 3"),
        (f"embed {MANIFEST} half.faa new.h5 --model tiny.pt", r"half.faa: \S+ is not what was packed; run the prepare"),
        (f"embed {MANIFEST} other.faa new.h5 --model tiny.pt", r"other.faa: \S+ is not what was packed"),
        (f"embed {MANIFEST} absent.faa new.h5 --model tiny.pt", "absent.faa: no such file"),
        (f"embed {MANIFEST} empty new.h5 --model tiny.pt", "empty"),
        (f"embed {MANIFEST} {PROTEINS} new.h5 --model soil.fa", "soil.fa: "),
        (f"embed out/model.json {PROTEINS} new.h5 --model tiny.pt", "provenance.json: pack has not finished"),
        (
            f"embed copy/manifests/0001.json {PROTEINS} new.h5 --model tiny.pt",
            "copy/provenance.json: ",
        ),
        ("merge empty", "empty/provenance.json: pack has not finished; run it"),
        ("merge soil.fa", "soil.fa/provenance.json: "),
        ("merge unfinished", "unfinished/shards/0001.json: embed has not finished; run it"),
        ("merge mixed", "mixed/shards/0001.h5: not what embed wrote: damaged or replaced"),
        ("call soil.fa empty --classifier tiny.safetensors", "empty/provenance.json: prepare has not finished"),
        ("call proteome.fa out/soil --classifier tiny.safetensors", "proteome.fa: not the file that"),
        ("call soil.fa out/soil --classifier soil.fa", "soil.fa: not a classifier; give one that a training wrote"),
        ("call soil.fa out/soil --classifier absent", "classifier absent: No such file or directory"),
        ("call proteome.fa out/proteome --classifier tiny.safetensors", "proteins is proteins, but the classifier"),
        ("summary out nosuch", "out/nosuch/provenance.json: prepare has not finished"),
        ("summary soil.fa soil", "soil.fa"),
    ],
)
def test_one_line(project: Project, command: str, message: str) -> None:
    def content() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in project.folder.rglob("*") if path.is_file()}

    before = content()
    words = ["python", "-m", "virnucpro", *command.split()]
    done = subprocess.run(words, cwd=project.folder, env=project.environment, capture_output=True, text=True)
    last = done.stderr.splitlines()[-1]
    assert re.match(rf"virnucpro {words[3]}: error: .*{message}", last), done.stderr
    assert all(line.startswith("virnucpro: ") for line in done.stderr.splitlines()[:-1])
    assert (done.returncode, done.stdout) == (1, "")
    assert content() == before
