"""Hook of mkdocs: pages outside docs/ join the site at their paths in the repository, so that relative links agree."""

import tempfile
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig

PAGES = [
    "README.md",
    "CHANGELOG.md",
    "config/README.md",
    "benchmarks/README.md",
    "benchmarks/results",
    "integrations/README.md",
    "docs",
]
LINKED = ["Containerfile", "CITATION.cff", "LICENSE", "Makefile", "profiles/slurm/config.yaml"]

_folder = tempfile.TemporaryDirectory(prefix="virnucpro-site-")  # removed at exit


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Let the site be read from a folder of links to the pages and to the other files that they link to."""
    root = Path(config.config_file_path).parent
    for name in PAGES + LINKED:
        link = Path(_folder.name) / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(root / name)
    config.docs_dir = _folder.name
    return config
