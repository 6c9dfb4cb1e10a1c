"""The diffusion process: schedule, losses, step spacing, samplers and guidance."""
