"""The challenger in shadow: it scores what the champion has answered, and no client notices.

challenger.py   who it is, and the rows that wait for it: of one worker
process.py      its process, as the worker has it
messages.py     what the two say to each other
scorer.py       in the process: scored, and kept beside the champion's answers
"""
