"""Claims whose machine is gone, and machines whose claim is gone."""
