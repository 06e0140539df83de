"""Write the tables of the docs."""

import sys

from bench.tables import write
from lightmamba.common.errors import InputError

try:
    write()
except InputError as error:
    print(error, file=sys.stderr)
    sys.exit(2)
