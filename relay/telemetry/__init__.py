"""Logging, redaction and metrics: what the relay tells of itself, and what it never tells."""
