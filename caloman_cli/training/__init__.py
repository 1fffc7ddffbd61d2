"""The parts of the training loop: settings, optimisation, averaging, interruption, rows."""
