"""The neural networks, without losses or training loops."""
