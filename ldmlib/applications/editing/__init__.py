"""Editing images: image to image, inpainting, super-resolution, inversion (notebook 11)."""
