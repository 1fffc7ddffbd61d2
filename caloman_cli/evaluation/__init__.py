"""What ``caloman evaluate`` works on and leaves behind: inputs, record, standing."""
