"""What is kept of conversations: folders, and what is read out of them."""
