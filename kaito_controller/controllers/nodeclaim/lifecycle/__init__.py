"""From a new claim to a ready node: launch, registration, initialization, and the time they may take."""
