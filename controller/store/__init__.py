"""The channel store: what channels there are to be, in an OVSDB database that all controllers share (docs/store.md)."""
