"""Models: load them, adapt them, save them."""

import logging

# PEFT imports bitsandbytes wherever it is installed, and on some CPUs that warns of an optional kernel it did not find.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
