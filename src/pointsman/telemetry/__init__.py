"""What leaves for tracing backends and Datadog: trace context, spans, events, DogStatsD lines."""
