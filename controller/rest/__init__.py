"""The REST API: what is said of the domain, who may ask, and how channels are changed."""
