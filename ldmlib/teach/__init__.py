"""For teachers: grading of notebooks that were handed in, and assignments."""
