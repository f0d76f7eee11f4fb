"""The SMTP edge: the server that clients see, and the client of the next hop."""
