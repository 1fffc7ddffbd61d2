"""What may be asked for: configs composed, checked and explained."""
