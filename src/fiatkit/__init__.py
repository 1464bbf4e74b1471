"""fiatkit."""
