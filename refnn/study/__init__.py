"""What is measured and published: tightness, calibration, support, limits, the power of checks. Nothing imports it but
the command line."""
