"""Files that are whole or not there: saving, loading, and the settings of saved models."""
