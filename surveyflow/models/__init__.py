"""The networks: their shape, their folders on disk, and sampling them."""
