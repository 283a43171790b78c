"""What can be done with jobs: functions over one transaction."""
