"""The GANs of notebook 02: model, training, and what is known exactly about them."""
