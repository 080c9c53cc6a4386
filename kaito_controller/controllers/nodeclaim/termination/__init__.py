"""The way down: pods leave, the machine goes, the finalizers of claim and Node follow."""
