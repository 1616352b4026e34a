"""One call: two legs, what joins them, one owner for its tasks, one closing log line."""
