"""What ``import caloman_cli`` offers to programs and notebooks; see ``docs/api.md``."""
