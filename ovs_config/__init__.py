"""Open vSwitch and link configuration: planned as data, applied as a difference."""
