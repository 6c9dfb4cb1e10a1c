"""Distributions whose answers are known exactly: Gaussians, mixtures, PCA (notebook 01)."""
