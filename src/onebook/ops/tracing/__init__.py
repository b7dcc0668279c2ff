"""Where spans go: into the table `span` for `onebook trace`, and to an OpenTelemetry collector where one is set."""
