"""Tests of the MCP server: its tools by themselves, and over stdio with a real client."""
