"""What is measured, against what. README.md says how to run it and how to read it."""
