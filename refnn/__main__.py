"""`python -m refnn` is the command `refnn`."""

import sys

from refnn.cli import main

sys.exit(main())
