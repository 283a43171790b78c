"""What the monitor does, each as a function of one transaction."""
