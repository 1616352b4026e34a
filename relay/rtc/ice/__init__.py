"""ICE: sockets, agents, consent (RFC 8445, RFC 7675)."""
