"""Stages that are called by hand with a wrong file: one line, and nothing is changed."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
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
    soil = made.work / "soil"
    proteins = (soil / "prepared" / "proteins.faa").read_text()
    (made.folder / "half.faa").write_text(proteins[: len(proteins) // 2])
    (made.folder / "other.faa").write_text(proteins.replace("A", "G"))
    shutil.copytree(soil / "manifests", made.folder / "copy" / "manifests")
    shutil.copytree(soil, made.folder / "unfinished")
    shutil.rmtree(made.folder / "unfinished" / "shards")
    shutil.copytree(soil, made.folder / "mixed")
    shard = made.folder / "mixed" / "shards" / "0001.h5"
    os.truncate(shard, shard.stat().st_size // 2)
    return made


SOIL = "out/work/soil"
MANIFEST = f"{SOIL}/manifests/0001.json"
PROTEINS = f"{SOIL}/prepared/proteins.faa"
BUDGET = "out/work/token_budget.json"
NO_BUDGET = "not what the token-budget stage writes: "


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
        (f"pack empty {BUDGET} --sample x", "empty/prepare.json: no such file; run prepare again"),
        (f"pack soil.fa {BUDGET} --sample x", "soil.fa/prepare.json: cannot be read: Not a directory"),
        (f"pack {SOIL} soil.fa --sample x", f"soil.fa: {NO_BUDGET}"),
        (f"pack {SOIL} bytes --sample x", f"bytes: {NO_BUDGET}"),
        (f"pack {SOIL} list.json --sample x", f"list.json: {NO_BUDGET}"),
        (f"pack {SOIL} out/work/model.json --sample x", f"out/work/model.json: {NO_BUDGET}"),
        (f"pack {SOIL} {MANIFEST} --sample x", f"{MANIFEST}: {NO_BUDGET}"),
        (f"pack {SOIL} {BUDGET} --sample x --layers 3", "no layer 3"),
        (f"embed {MANIFEST} half.faa new.h5 --model tiny.pt", "half.faa: not what was packed"),
        (f"embed {MANIFEST} other.faa new.h5 --model tiny.pt", "other.faa: not what was packed"),
        (f"embed {MANIFEST} absent.faa new.h5 --model tiny.pt", "absent.faa: no such file"),
        (f"embed {MANIFEST} empty new.h5 --model tiny.pt", "empty"),
        (f"embed {MANIFEST} {PROTEINS} new.h5 --model soil.fa", "soil.fa: "),
        (
            f"embed {SOIL}/call.json {PROTEINS} new.h5 --model tiny.pt",
            "no such file; run pack again",
        ),
        (f"embed copy/manifests/0001.json {PROTEINS} new.h5 --model tiny.pt", "copy/pack.json: no such file"),
        ("merge empty new.h5", "empty/pack.json: no such file; run pack again"),
        ("merge soil.fa new.h5", "soil.fa/pack.json: cannot be read: Not a directory"),
        ("merge unfinished new.h5", "unfinished/shards/0001.json: no such file; run embed again"),
        ("merge mixed new.h5", "mixed/shards/0001.h5: not what embed wrote: damaged or replaced"),
        ("call soil.fa empty new --classifier tiny.safetensors", "empty/prepare.json: no such file; run prepare again"),
        (
            f"call soil.fa {SOIL} empty --classifier tiny.safetensors",
            "empty/embeddings.h5: no such file; run merge again",
        ),
        (f"call proteome.fa {SOIL} out/soil --classifier tiny.safetensors", "proteome.fa: not the file that"),
        (f"call soil.fa {SOIL} out/soil --classifier soil.fa", "soil.fa: not a classifier; give one that a training"),
        (f"call soil.fa {SOIL} out/soil --classifier absent", "classifier absent: No such file or directory"),
        (
            "call proteome.fa out/work/proteome out/proteome --classifier tiny.safetensors",
            "proteins is proteins, but the classifier",
        ),
        ("summary out nosuch", "out/work/nosuch/prepare.json: no such file; run prepare again"),
        ("summary soil.fa soil", "soil.fa"),
        ("report out nosuch --fasta soil.fa", "out/work/nosuch/"),
    ],
)
def test_one_line(project: Project, command: str, message: str) -> None:
    def content() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in project.folder.rglob("*") if path.is_file()}

    before = content()
    words = ["python", "-P", str(ROOT / "virnucpro" / "__main__.py"), *command.split()]
    done = subprocess.run(words, cwd=project.folder, env=project.environment, capture_output=True, text=True)
    last = done.stderr.splitlines()[-1]
    assert re.match(rf"virnucpro {words[3]}: error: .*{message}", last), done.stderr
    assert all(line.startswith("virnucpro: ") for line in done.stderr.splitlines()[:-1])
    assert (done.returncode, done.stdout) == (1, "")
    assert content() == before
