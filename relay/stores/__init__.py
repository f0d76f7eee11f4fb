"""Where state lives.  Each module implements Protocols of relay/ports.py for one kind of store."""
