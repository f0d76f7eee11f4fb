"""What runs in the background, once per installation."""
