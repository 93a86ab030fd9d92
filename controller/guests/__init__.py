"""What guests ask of their controller, by datagrams to the service address: channels, and to hear of misses."""
