"""What is trained and measured for the figures: each module gives tasks, and reads back what they made."""
