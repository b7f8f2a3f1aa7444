"""Getting a real MicroPython for the host, and the private apt that other tools share."""
