"""Definitions: packed, stored by their content, loaded, checked and made from templates."""
