"""Triggers: schedules, webhooks, messages, by hand."""
