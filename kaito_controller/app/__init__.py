"""Options, wiring and the list of controllers."""
