"""What is known of all instances without asking each, and whether it is true."""
