"""From words to pictures: the emoji model and the matcher that judges it (notebook 10)."""
