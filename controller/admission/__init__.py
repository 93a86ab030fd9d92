"""What the links can keep: the exact condition for each, and what every channel is assured of along its way."""
