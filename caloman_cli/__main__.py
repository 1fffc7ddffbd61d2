"""``python -m caloman_cli``."""

import sys

from caloman_cli.cli.main import main

sys.exit(main())
