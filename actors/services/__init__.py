"""Services that movant hosts: requests in, answers out."""
