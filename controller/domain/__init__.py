"""One controller's mind, sans-IO: events in, commands out; and the thread that owns it."""
