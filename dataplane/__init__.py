"""The EDF shim: a C core that stamps, orders and paces, and the process around it. Knows nothing of the controller."""
