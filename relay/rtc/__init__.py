"""Mechanism: the only room that knows aiortc, aioice, pylibsrtp and their private parts."""
