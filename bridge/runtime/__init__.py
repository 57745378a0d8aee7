"""The room with sockets, threads, clocks and signals; thin."""
