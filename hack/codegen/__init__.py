"""Makes what is derived from the code: config/, and the reference pages under docs/."""
