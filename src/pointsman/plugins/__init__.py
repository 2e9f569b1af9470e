"""Adapters we ship, one file each. Import the module you need."""
