"""Decisions for good: Parquet files by project and day, written from the journal's segments."""
