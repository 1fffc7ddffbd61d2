"""The run directory and the machine it was made on."""
