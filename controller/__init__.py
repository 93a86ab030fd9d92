"""The RTvNIC controller: topology file, admission, OpenFlow and REST. Layers: see docs/architecture.md."""
