"""`python -m virnucpro` is `virnucpro`."""

import sys

from virnucpro.cli import main

sys.exit(main())
