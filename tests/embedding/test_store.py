"""Bins of an interrupted process are used if they are whole and of the same work."""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from virnucpro.embedding.store import Store, kept_beside
from virnucpro.errors import UserError

BINS, POOLED = np.array([0, 3, 5, 6]), np.array([2, 1, 4, 3, 3, 9])


class Runner:
    """Embeds a sequence, a number, as this number."""

    def __init__(self, factor: float = 1) -> None:
        self.factor = factor

    def run(self, bins: Iterable[list[int]]) -> Iterator[Any]:
        for rows in bins:
            values = np.array(rows, np.float32)[:, None] * np.full(2, self.factor, np.float32)
            yield SimpleNamespace(embeddings=values, residues=np.repeat(values, POOLED[rows], axis=0))


def _number(row: int) -> Any:
    return row


def fill(path: Path | None, work: str = "a", factor: float = 1, bins: list[int] | None = None) -> Store:
    store = Store(BINS, (2,), POOLED, path, work)
    missing = store.missing() if bins is None else bins
    assert list(store.fill(Runner(factor), missing, _number)) == missing  # type: ignore[arg-type]
    return store


def check(store: Store) -> None:
    np.testing.assert_array_equal(store.means[:, 0], np.arange(6))
    np.testing.assert_array_equal(store.residues[:, 1], np.repeat(np.arange(6), POOLED))
    assert [len(store.residues_of(row)) for row in range(6)] == POOLED.tolist()


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Path]:
    with kept_beside(tmp_path / "x.h5") as path:
        yield path


def test_finished_bins_are_found_again(kept: Path) -> None:
    fill(kept, bins=[2, 0])
    assert Store(BINS, (2,), POOLED, kept, "a").missing() == [1]
    store = fill(kept)
    check(store)
    assert store.seconds > 0
    check(fill(None))


def test_bins_of_other_work_are_not_used(kept: Path) -> None:
    fill(kept, "b", factor=5)
    store = Store(BINS, (2,), POOLED, kept, "a")
    assert store.missing() == [0, 1, 2]
    check(fill(kept))


def flip(position: int) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[position] ^= 1
        path.write_bytes(content)

    return damage


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 4)


def lengthen(path: Path) -> None:
    os.truncate(path, path.stat().st_size + 4)


def lose_the_end(path: Path) -> None:
    """Leave a page of zeros, as a power failure may."""
    size = path.stat().st_size
    os.truncate(path, size - 8 * 9)
    os.truncate(path, size)


@pytest.mark.parametrize(
    ("damage", "missing"),
    [
        (flip(40 * 1), [1]),  # in a digest
        (flip(40 * 3 + 8 * 4), [1]),  # in a mean
        (flip(-1), [2]),  # in a residue
        (cut, [0, 1, 2]),
        (lengthen, [0, 1, 2]),
        (lose_the_end, [2]),
        (lambda path: path.write_bytes(b""), [0, 1, 2]),
    ],
)
def test_what_is_torn_is_embedded_again(kept: Path, damage: Callable[[Path], None], missing: list[int]) -> None:
    fill(kept)
    damage(kept)
    assert Store(BINS, (2,), POOLED, kept, "a").missing() == missing
    check(fill(kept))


def test_an_error_keeps_the_file_and_success_removes_it(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), kept_beside(tmp_path / "x.h5") as path:
        fill(path, bins=[0])
        raise KeyboardInterrupt
    with kept_beside(tmp_path / "x.h5") as path:
        assert Store(BINS, (2,), POOLED, path, "a").missing() == [1, 2]
    assert not list(tmp_path.iterdir())


def test_two_processes_never_write_the_same_output(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    order: list[str] = []

    def wait_and_write() -> None:
        with kept_beside(tmp_path / "x.h5", wait=True) as path:
            order.append("second")
            assert Store(BINS, (2,), POOLED, path, "a").missing() == [0, 1, 2], "the first removed its file"

    with kept_beside(tmp_path / "x.h5") as path:
        fill(path)
        with pytest.raises(UserError, match=r"x\.h5: another process is writing it"), kept_beside(tmp_path / "x.h5"):
            pass
        second = threading.Thread(target=wait_and_write)
        second.start()
        while "this one waits" not in caplog.text:
            time.sleep(0.01)
        order.append("first")
    second.join()
    assert order == ["first", "second"]
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_noticed_before_anything_is_embedded(kept: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        Store(np.array([0, 1]), (1 << 50,), None, kept, "a")
