"""Finds personal data in texts and masks it before a record may leave the machine. Knows no model, task or split."""
