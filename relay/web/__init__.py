"""The relay's HTTP server: routes, credentials, problems, the pages."""
