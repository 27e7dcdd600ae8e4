"""Guardrails and budgets as data, their evaluation, and what is sensitive."""
