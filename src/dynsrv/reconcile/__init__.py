"""How is one backend of one proxy kept as desired, and who observes that?"""
