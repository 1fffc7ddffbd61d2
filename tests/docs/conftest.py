"""What the tests of pages share with those of the command line."""

from tests.cli.conftest import caloman, files

__all__ = ["caloman", "files"]
