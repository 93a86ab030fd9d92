"""What runs inside a VM: asks its hypervisor's controller for real-time channels, and hears of packets that were late.

Importable alone, standard library only: copy this directory into a VM, and it works.
"""
