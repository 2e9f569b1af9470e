"""The data plane's shell: HTTP edge, pipeline, table feed, feedback, counters."""
