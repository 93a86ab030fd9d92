"""How far wall clocks may be off: what chrony and linuxptp say, what peers say, and what follows for misses."""
