"""rewardscope: what process reward models reward, why they misguide reasoning models, and how to
repair them.
"""
