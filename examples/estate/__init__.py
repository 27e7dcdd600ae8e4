"""Real-estate leads and market analysis: scrapers, language models, messages and a CRM."""
