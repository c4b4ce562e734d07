"""What is done about one backend of one proxy, and who hears of it?"""
