"""A self-hosted WebRTC relay between browsers and OpenAI's Realtime API."""

__version__ = "0.1.0"
