"""Starting the parts of an operator in order, and stopping them in reverse."""
