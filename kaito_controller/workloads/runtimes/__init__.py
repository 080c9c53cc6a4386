"""What a runtime of the catalogue becomes in a pod: parameters, command line, environment, volumes."""
