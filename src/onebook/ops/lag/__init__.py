"""Who is behind, and who is told of it: one table of rules for our own alerts, for Prometheus and for a dashboard."""
