"""What is done about a plan, one step per file; each looks at what is there, writes what is missing, and returns.

A step never waits and never retries: it says what happened, and the controller comes back when something changes.
"""
