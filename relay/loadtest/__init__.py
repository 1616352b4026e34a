"""A load of voice calls with real WebRTC, light enough to measure what it calls."""
