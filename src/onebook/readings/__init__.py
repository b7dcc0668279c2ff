"""What the metrics of a machine say of its pipeline. Beside the rooms: imports nothing of ours."""
