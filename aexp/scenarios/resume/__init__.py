"""``resume``: publish messages through a queue, be killed, resume, and account for every
message.
"""
