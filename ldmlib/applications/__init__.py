"""Applications of the latent diffusion model, a folder for each."""
