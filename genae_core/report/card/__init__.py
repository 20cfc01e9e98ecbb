"""The card of an exported model."""
