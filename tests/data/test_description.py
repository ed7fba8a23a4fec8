"""Descriptions of embeddings: which can be merged, and which fit a classifier."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from tests.data.test_embeddings import DESCRIPTION
from virnucpro.data.description import EmbeddingDescription, layer_numbers
from virnucpro.errors import UserError

OTHER: dict[str, Any] = {
    "encoder": "esm3",
    "encoder_sha256": "cd" * 32,
    "embed_dim": 8,
    "layers": (5,),
    "pooling": "max",
    "precision": "bfloat16",
    "proteins": "gene",
    "chunk_size": 300,
    "short_chunks": (100,),
    "max_sequence_length": 20,
    "long_proteins": "windows",
}


def test_json_and_back() -> None:
    assert EmbeddingDescription.from_json(DESCRIPTION.as_json()) == DESCRIPTION
    with pytest.raises(ValueError, match="more: Unexpected"):
        EmbeddingDescription.from_json(DESCRIPTION.as_json() | {"more": 1})


@pytest.mark.parametrize("name", [field.name for field in fields(EmbeddingDescription)])
def test_every_field_counts_in_a_merge(name: str) -> None:
    changed = replace(DESCRIPTION, **{name: OTHER[name]})
    assert changed.digest != DESCRIPTION.digest
    with pytest.raises(UserError, match=f"a.h5: {name} is .*, what was packed has"):
        changed.check_same(DESCRIPTION, Path("a.h5"), "what was packed")


@pytest.mark.parametrize("name", sorted(OTHER.keys() - {"encoder", "precision"}))
def test_a_classifier_refuses_other_embeddings(name: str) -> None:
    with pytest.raises(UserError, match="but the classifier was trained with"):
        replace(DESCRIPTION, **{name: OTHER[name]}).check_trained_for(DESCRIPTION, "a.h5")


@pytest.mark.parametrize(
    "changes", [{}, {"precision": "bfloat16"}, {"encoder": "renamed"}, {"short_chunks": ()}, {"short_chunks": (150,)}]
)
def test_a_classifier_takes_what_differs_by_rounding_or_less(changes: dict[str, Any]) -> None:
    replace(DESCRIPTION, **changes).check_trained_for(DESCRIPTION, "a.h5")


def test_an_unpublished_classifier_says_of_chunks_only_what_its_user_said() -> None:
    unknown = replace(DESCRIPTION, encoder_sha256="", chunk_size=0)
    DESCRIPTION.check_trained_for(unknown, "a.h5")
    with pytest.raises(UserError, match="chunk_size is 500, but the classifier was trained with 300"):
        DESCRIPTION.check_trained_for(replace(unknown, chunk_size=300), "a.h5")


def test_negative_layers_count_from_the_end() -> None:
    assert layer_numbers([0, -1, 3, 6, -7], 6) == [0, 6, 3, 6, 0]
    for wrong in (7, -8):
        with pytest.raises(UserError, match=f"no layer {wrong}, only 0"):
            layer_numbers([wrong], 6)
