"""`python -m virnucpro` is `virnucpro`."""

from virnucpro.cli import main

main(prog_name="virnucpro")
