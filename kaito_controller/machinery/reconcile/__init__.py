"""What a reconciler is asked, what it answers, and what kind of failure its exception is."""
