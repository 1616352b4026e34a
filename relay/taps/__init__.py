"""What watches a call and never disturbs it: taps."""
