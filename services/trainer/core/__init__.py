"""The trainer's domain: what a job asks for, how it moves, how its winner is chosen."""
