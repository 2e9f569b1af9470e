"""Models as files and as running code: store, prepare, load, score. Import the module you need."""
