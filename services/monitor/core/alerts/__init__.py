"""What a person has to see to."""
