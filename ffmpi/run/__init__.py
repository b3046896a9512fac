"""What a run leaves and tells: its directory, checkpoints, measurements, progress."""
