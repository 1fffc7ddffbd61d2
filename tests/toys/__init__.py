"""Models of strangers: a class here, its YAML in ``conf/`` beside it, and nothing else.

They keep the contracts in ways that none of the package's own models does, and are used as
somebody else's would be: ``caloman train --config-dir tests/toys/conf encoder=vq density=codes``.
Tests find them by their YAML, whose names no option of the package has: ``my_avb`` stands beside
``avb``.
"""
