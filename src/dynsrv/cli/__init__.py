"""What can an operator ask for, how does it look, and how does it exit?"""
