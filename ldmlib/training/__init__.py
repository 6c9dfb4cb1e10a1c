"""The training loop, its configuration, and the objectives that it minimises."""
