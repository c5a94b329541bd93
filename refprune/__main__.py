"""`python -m refprune` is the command `refprune`."""

import sys

from refprune.cli import main

sys.exit(main())
