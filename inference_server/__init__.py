"""What runs inside the pods. Never imports kaito_controller."""
