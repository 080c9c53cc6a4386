"""Our machinery beside client-go's own: both against the same scripted server, and what may differ."""
