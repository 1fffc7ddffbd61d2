"""How Sphinx builds these pages; they are written to be read as plain Markdown, too."""

import caloman_cli

project = "caloman"
author = copyright = "The caloman developers"
version = release = caloman_cli.__version__

extensions = ["myst_parser"]
myst_enable_extensions = ["dollarmath"]  # as forges write formulas
myst_heading_anchors = 4  # [text](page.md#a-heading) works as on a forge
html_theme = "furo"
html_title = f"caloman {version}"
exclude_patterns = ["_build"]
nitpicky = True  # a reference that leads nowhere is a warning, and warnings are errors
