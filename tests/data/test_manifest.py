"""Manifests: checked on writing and on reading, and byte-stable."""

import copy
import hashlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.test_embeddings import DESCRIPTION
from virnucpro.data.description import EmbeddingDescription
from virnucpro.data.manifest import Manifest, read_manifest, write_manifest
from virnucpro.errors import UserError


def manifest() -> Manifest:
    def packed(name: str, sequence: str) -> Any:
        digest = hashlib.sha256(sequence.encode()).hexdigest()
        return {"id": name, "offset": 7, "length": len(sequence), "sha256": digest, "truncated": False}

    return {
        "version": 2,
        "sample": "soil",
        "shard": "0001",
        "embedding": DESCRIPTION,
        "token_budget": 16,
        "bins": [
            {"tokens": 13, "sequences": [packed('a "quoted" é', "MKTAYI"), packed("b", "MKT")]},
            {"tokens": 6, "sequences": [packed("c", "MKTA")]},
        ],
    }


def test_round_trip_one_line_a_sequence(tmp_path: Path) -> None:
    path = tmp_path / "0001.json"
    write_manifest(path, manifest())
    assert read_manifest(path) == manifest()
    assert sum('"sha256"' in line for line in path.read_text().splitlines()) == 3


def test_same_content_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "0001.json"
    write_manifest(path, manifest())
    before = path.stat().st_mtime_ns, path.stat().st_ino
    write_manifest(path, manifest())
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before


def test_no_bins(tmp_path: Path) -> None:
    empty = manifest() | {"bins": []}
    write_manifest(tmp_path / "0001.json", empty)
    assert read_manifest(tmp_path / "0001.json") == empty


DAMAGES: list[tuple[Callable[[Any], Any], str]] = [
    (lambda m: m.pop("token_budget"), "not what the pack stage writes: token_budget"),
    (lambda m: m.update(extra=1), "extra"),
    (lambda m: m.update(version=1), "version"),
    (lambda m: m.update(embedding=replace(DESCRIPTION, pooling="max")), "embedding.pooling: String should match"),
    (lambda m: m["bins"][0]["sequences"][0].pop("truncated"), "truncated"),
    (
        lambda m: m["bins"][0]["sequences"][0].update(length="6"),
        "bins.0.sequences.0.length: Input should be a valid int",
    ),
    (lambda m: m["bins"][0]["sequences"][0].update(sha256="xyz"), "sha256"),
    (lambda m: m["bins"][0].update(tokens=12), "bin 1 says 12 tokens, its sequences have 13"),
    (lambda m: m.update(token_budget=12), "bin 1 has 13 tokens, over the budget of 12"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_damage_is_found_on_writing_and_on_reading(tmp_path: Path, damage: Callable[[Any], Any], message: str) -> None:
    damaged: Any = copy.deepcopy(manifest())
    damage(damaged)
    path = tmp_path / "0001.json"
    with pytest.raises(UserError, match=message):
        write_manifest(path, damaged)
    assert not path.exists()
    path.write_text(json.dumps(damaged, default=EmbeddingDescription.as_json))
    with pytest.raises(UserError, match=message):
        read_manifest(path)


def test_a_description_that_lacks_a_field(tmp_path: Path) -> None:
    path = tmp_path / "0001.json"
    write_manifest(path, manifest())
    path.write_text(path.read_text().replace('  "pooling": "mean",\n', ""))
    with pytest.raises(
        UserError, match=r"0001\.json: .*embedding\.pooling: Field required; give that file, or delete it"
    ):
        read_manifest(path)


@pytest.mark.parametrize("text", ["", "{", '{"version": 1', "[]", "\x00"])
def test_no_json_no_traceback(tmp_path: Path, text: str) -> None:
    path = tmp_path / "0001.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"0001\.json"):
        read_manifest(path)


@given(
    st.one_of(
        st.binary(), st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps).map(str.encode)
    )
)
def test_no_bytes_make_a_traceback(content: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        Path(file.name).write_bytes(content)
        with pytest.raises(UserError):
            read_manifest(file.name)
