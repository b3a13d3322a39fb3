"""The command line with other constants: ``CHAOS_SET`` is a JSON object, dotted name to value."""

import json
import os
from importlib import import_module

if __name__ == "__main__":
    for name, value in json.loads(os.environ.get("CHAOS_SET", "{}")).items():
        module, _, attribute = name.rpartition(".")
        setattr(import_module(module), attribute, tuple(value) if isinstance(value, list) else value)
    import_module("tilespec.cli").main()
