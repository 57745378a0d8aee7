"""One file a format; each turns payload bytes into a message or a reason."""
