"""Example topology files, and what builds a Mininet network from any of them."""
