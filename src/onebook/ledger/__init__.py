"""The write side: commands are decided in batches and written, with their events, in one transaction each."""
