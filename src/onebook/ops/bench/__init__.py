"""`onebook bench`: Onebook beside a baseline, under one load, in one run."""
