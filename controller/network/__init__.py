"""The declared network: its ports, the ways through it, and the labels and selectors of channels."""
