"""`python -m refnn` is the command `refnn`."""

import sys

from refnn.cli.app import main

sys.exit(main())
