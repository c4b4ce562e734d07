"""What runs, and until when?"""
