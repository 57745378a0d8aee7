"""What `top` is made of: `asking` asks a bridge, `moment` makes values of it, `screen` draws them.

A bridge may be older or newer than the `top` that looks at it, or be no bridge at all: what an
answer lacks is shown as unknown, and no text of it reaches a terminal as it came.
"""
