"""The monitor: rows it takes in, a wide window beside Evidently's, and its page with a year."""
