"""Many controllers at one broker: what a broker, and whoever listens there, has to bear."""
