"""The console scripts: kaito-controller and kubectl-kaito."""
