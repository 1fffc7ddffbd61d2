"""``python -m caloman_cli``."""

import sys

from caloman_cli.cli import main

sys.exit(main())
