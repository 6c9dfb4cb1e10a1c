"""The latent diffusion model: its configuration, the model, both training stages, the recipes."""
