"""The switches: tables and flows as data, the difference to what a switch has, and the os-ken app that talks to it."""
