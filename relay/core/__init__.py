"""Sans-I/O: no loop, no socket, no clock, no randomness; `now` and ids are arguments."""
