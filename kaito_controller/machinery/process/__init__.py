"""The process itself: whether its main loop turns, which signals end it, and when its memory is swept."""
