"""Six workflows of a company: onboarding, incidents, ETL, invoices, an audit, leads."""
