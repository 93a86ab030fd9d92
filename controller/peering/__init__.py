"""What controllers tell each other: messages, sessions, and the connections that carry them."""
