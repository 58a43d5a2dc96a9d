"""valkey-py against Podium."""

import valkey

from matrix_common import run

run(valkey.Valkey, "valkey-py")
