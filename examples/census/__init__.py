"""The parts of `../source_census.py`, one concern per file."""
