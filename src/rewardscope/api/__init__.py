"""What `import rewardscope` offers to notebooks and other programs, on top of the other rooms.

Tasks do not use it: a name here changes only with a test that says so.
"""
