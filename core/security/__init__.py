"""Keys and encryption of session state."""
