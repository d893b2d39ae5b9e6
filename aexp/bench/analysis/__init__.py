"""Draw conclusions from few and noisy rounds."""
