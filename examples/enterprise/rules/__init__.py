"""What the company's services decide: pure functions of requests and files' contents."""
