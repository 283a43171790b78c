"""What is kept, for whom, and what may go."""
