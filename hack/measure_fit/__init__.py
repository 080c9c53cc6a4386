"""`hack/measure-fit`: what an engine says of its memory when it starts, beside what our ledger says."""
