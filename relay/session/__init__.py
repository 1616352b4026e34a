"""One call: two legs, their forwarders, their taps, one owner for its tasks, one closing log line."""
