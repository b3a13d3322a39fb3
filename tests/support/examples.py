"""The number of examples on which a law is tried: fewer in the suite that runs at each change."""

import os

EXAMPLES = int(os.environ.get("EXAMPLES", "40"))
