"""What shows only over time or needs the whole fleet; pure, `now` is an argument."""
